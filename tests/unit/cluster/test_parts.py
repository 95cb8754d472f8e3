"""Small parts of the kit: versions, keys, tools that are recent enough, kind's storage manifest, archives."""

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from clusterkit import cache, image_archive, loading, node_files, shell, tools


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("Client Version: v1.36.3", (1, 36), id="kubectl"),
        pytest.param("go1.26.8", (1, 26), id="go"),
        pytest.param("", (0, 0), id="nothing"),
        pytest.param(None, (0, 0), id="none"),
    ],
)
def test_version(text: str | None, found: tuple[int, int]) -> None:
    assert shell.version(text) == found


def test_key_follows_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = cache.key("x", tmp_path)
    assert cache.key("x", tmp_path) == before
    (tmp_path / "a").write_text("2")
    assert cache.key("x", tmp_path) != before


@pytest.mark.parametrize(
    ("told", "good"),
    [
        pytest.param("v1.35.0", True, id="one-older"),
        pytest.param("v1.37.9", True, id="one-newer"),
        pytest.param("v1.32.4-x", False, id="too-old"),
        pytest.param("", False, id="silent"),
    ],
)
def test_recent_enough(tmp_path: Path, told: str, good: bool) -> None:
    script = tmp_path / "kubectl"
    script.write_text(f"#!/bin/sh\necho Client Version: {told}\n")
    script.chmod(0o755)
    assert tools.recent_enough("kubectl", script) is good


def test_no_tool_is_not_recent() -> None:
    assert not tools.recent_enough("kubectl", None)


def test_storage_manifest(tmp_path: Path) -> None:
    source = tmp_path / "pkg/build/nodeimage/const_storage.go"
    source.parent.mkdir(parents=True)
    source.write_text(
        'const provisioner = 1\nconst storageProvisionerImage = "p:1"\nconst storageHelperImage = "h:2"\n'
        "const defaultStorageManifest = `\nimage: ` + storageProvisionerImage + `\n"
        "helper: ` + storageHelperImage + `\n`\n"
    )
    assert node_files.storage_manifest(tmp_path) == ("\nimage: p:1\nhelper: h:2\n", "p:1", "h:2")


def test_archive_keeps_a_shared_layer_once(tmp_path: Path) -> None:
    layers = {name: tmp_path / name for name in ("base", "program")}
    for name, path in layers.items():
        path.write_text(name)
    images = {"one:1": image_archive.Image(["base"]), "two:2": image_archive.Image(["base", "program"], {"Cmd": ["x"]})}
    image_archive.write_images(tmp_path / "images.tar", images, layers)
    base = hashlib.sha256(b"base").hexdigest() + ".tar"
    with tarfile.open(tmp_path / "images.tar") as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile("manifest.json") or pytest.fail("no manifest"))
        config = json.load(tar.extractfile(manifest[1]["Config"]) or pytest.fail("no configuration"))
    assert names.count(base) == 1
    assert [entry["RepoTags"] for entry in manifest] == [["one:1"], ["two:2"]]
    assert manifest[0]["Layers"] == [base]
    assert config["config"]["Cmd"] == ["x"]
    assert config["rootfs"]["diff_ids"][0] == "sha256:" + base.removesuffix(".tar")


def test_images_of_a_deployment() -> None:
    pod = {"initContainers": [{"image": "a"}], "containers": [{"image": "b"}]}
    assert list(loading.image_names({"spec": {"template": {"spec": pod}}})) == ["a", "b"]
