"""The control plane's images as one archive, written without Docker.

So no name of theirs is ever set in this machine's Docker, and a layer used twice is kept once.
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ENVIRONMENT = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]


@dataclass(frozen=True, slots=True)
class Image:
    """One image: the names of its layers from the bottom up, and what is set in its configuration."""

    layers: Sequence[str]
    config: Mapping[str, Sequence[str]] = field(default_factory=dict)


def write_images(archive: Path, images: Mapping[str, Image], layers: Mapping[str, Path]) -> None:
    """Write an archive as `docker save` does: images by name, layers by the name the images use."""
    manifest, digests = [], {}
    with tarfile.open(archive, "w") as tar:
        for name, path in layers.items():
            with path.open("rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
            tar.add(path, f"{digests[name]}.tar")
        for name, image in images.items():
            body = _configuration(image, digests)
            config = hashlib.sha256(body).hexdigest() + ".json"
            _add(tar, config, body)
            used = [digests[layer] + ".tar" for layer in image.layers]
            manifest.append({"Config": config, "RepoTags": [name], "Layers": used})
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def _configuration(image: Image, digests: Mapping[str, str]) -> bytes:
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return json.dumps(
        {
            "architecture": arch,
            "os": "linux",
            "config": {"Env": ENVIRONMENT, **image.config},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digests[layer] for layer in image.layers]},
        }
    ).encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def as_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Make a program in a layer root's, runnable, and the same at every build."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    info.mode = 0o755
    return info
