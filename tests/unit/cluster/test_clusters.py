"""Clusters that were begun and not finished: none is left behind, and none is taken for a whole one."""

import pytest

FREE = '{"spec": {}}'
TAINTED = '{"spec": {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]}}'
DOWN = ("down", "--name", "mended")
UP = ("up", "--name", "mended", "--image", "node")


@pytest.mark.parametrize(
    ("left", "lack"),
    [
        pytest.param({"kubelet": False}, "Kubernetes", id="no-kubelet"),
        pytest.param({"storage": ""}, "the StorageClass `standard`", id="no-storage"),
        pytest.param(
            {"storage": "storageclass.storage.k8s.io/mine"}, "the StorageClass `standard`", id="other-storage"
        ),
        pytest.param({"nodes": TAINTED}, "a node that takes pods", id="tainted"),
    ],
)
def test_a_half_made_cluster_is_made_anew(machine, left, lack):
    machine.has(**left)
    up = machine.kit(*UP)
    assert up.returncode == 0, up.stderr
    assert f"cluster mended: it is half made, without {lack}," in up.stderr
    assert machine.done() == ["delete", "create"]
    assert machine.record().read_text() == "new"


@pytest.mark.parametrize("left", [{"kubelet": False}, {"storage": ""}, {"nodes": TAINTED}], ids=str)
@pytest.mark.parametrize("record", [None, "another"], ids=["never made by the kit", "made in place of the kit's"])
@pytest.mark.parametrize("words", [UP, DOWN], ids=["up", "down"])
def test_a_cluster_of_somebody_else_s_is_never_deleted(machine, left, record, words):
    machine.has(**left, record=record)
    done = machine.kit(*words)
    assert done.returncode == 1
    assert (
        "this kit has not made it, so it is left as it is: `kind delete cluster --name mended` deletes it"
        in done.stderr
    )
    assert machine.done() == []


@pytest.mark.parametrize("record", ["", "old"], ids=["interrupted", "finished"])
def test_a_cluster_of_the_kit_s_is_deleted(machine, record):
    machine.has(record=record)
    down = machine.kit(*DOWN)
    assert down.returncode == 0, down.stderr
    assert machine.done() == ["delete"]
    assert not machine.record().exists()
    machine.has(record=None)  # one that somebody makes afterwards by the same name
    assert machine.kit(*DOWN).returncode == 1


@pytest.mark.parametrize(
    "nodes", [pytest.param(FREE, id="one-node"), pytest.param(f"{TAINTED}, {FREE}", id="control-plane-and-worker")]
)
@pytest.mark.parametrize("record", ["old", None], ids=["the kit's", "a stranger's"])
def test_a_whole_cluster_is_kept(machine, nodes, record):
    machine.has(nodes=nodes, record=record)
    up = machine.kit(*UP)
    assert up.returncode == 0, up.stderr
    assert machine.done() == []


@pytest.mark.parametrize(
    ("creation", "said"),
    [
        pytest.param("kill -INT $PPID; exec sleep 30", "kit.py: stopped", id="ctrl-c"),
        pytest.param("kill -TERM $$", "kind create cluster, image node: failed", id="kind-dies"),
    ],
)
def test_nothing_stays_of_a_cluster_whose_creation_breaks_off(machine, creation, said):
    up = machine.kit(*UP, creation=creation)
    assert up.returncode == 1
    assert said in up.stderr
    assert machine.done() == ["create", "delete"]
    assert not machine.record().exists()


@pytest.mark.parametrize("words", [UP, ("images",), ("tools",)], ids=lambda words: words[0])
def test_fetched_tools_come_with_the_line_that_puts_them_on_path(machine, words):
    made = machine.kit(*words)
    assert made.returncode == 0, made.stderr
    assert f'for your shell: export PATH="{machine.tools()}:$PATH"' in made.stderr
