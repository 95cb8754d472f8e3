"""Nodes that are drained or taken away, and producers that somebody else counts."""

import pytest

EVICTABLE = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"


@pytest.mark.parametrize("component", ["operator", "producer", "rabbitmq", "postgresql", "prometheus"])
def test_no_emptydir_keeps_a_node(chart, pods, component):
    volumes = {volume["name"] for volume in pods[component]["spec"]["volumes"] if "emptyDir" in volume}
    assert set(pods[component]["metadata"]["annotations"][EVICTABLE].split(",")) == volumes
    escaped = EVICTABLE.replace(".", "\\.")
    (other,) = [
        each["spec"]["template"]["metadata"]["annotations"]
        for each in chart.render(f"{component}.podAnnotations.{escaped}=mine")
        if each["kind"] in {"Deployment", "StatefulSet"} and each["metadata"]["name"] == f"leveret-{component}"
    ]
    assert other[EVICTABLE] == "mine"


def producers(objects):
    """Return what the producers' Deployment says of their number, and their budgets."""
    (spec,) = [
        each["spec"] for each in objects if each["kind"] == "Deployment" and "-producer" in each["metadata"]["name"]
    ]
    budgets = [each["spec"] for each in objects if each["kind"] == "PodDisruptionBudget"]
    return spec, budgets


@pytest.mark.parametrize(
    ("settings", "replicas", "budgets"),
    [
        pytest.param([], 2, 1, id="two"),
        pytest.param(["producer.replicas=1"], 1, 0, id="one"),
        pytest.param(["producer.replicas=0"], 0, 0, id="held back"),
        pytest.param(["producer.replicas=null"], None, 1, id="an autoscaler's"),
        pytest.param(["producer.podDisruptionBudget.enabled=false"], 2, 0, id="unwanted"),
    ],
)
def test_from_two_producers_on_they_go_one_by_one(chart, settings, replicas, budgets):
    spec, found = producers(chart.render(*settings))
    assert spec.get("replicas") == replicas
    assert ("replicas" in spec) is (replicas is not None), "an empty one is written over an autoscaler's"
    assert len(found) == budgets
    for budget in found:
        assert budget["selector"] == spec["selector"]
        assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
