"""Clusters that were begun and not finished: none is left behind, and none is taken for a whole one."""

import pytest

FREE = '{"spec": {}}'
TAINTED = '{"spec": {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]}}'
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


@pytest.mark.parametrize(
    "nodes", [pytest.param(FREE, id="one-node"), pytest.param(f"{TAINTED}, {FREE}", id="control-plane-and-worker")]
)
def test_a_whole_cluster_is_kept(machine, nodes):
    machine.has(nodes=nodes)
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


@pytest.mark.parametrize("words", [UP, ("images",), ("tools",)], ids=lambda words: words[0])
def test_fetched_tools_come_with_the_line_that_puts_them_on_path(machine, words):
    made = machine.kit(*words)
    assert made.returncode == 0, made.stderr
    assert f'for your shell: export PATH="{machine.tools()}:$PATH"' in made.stderr
