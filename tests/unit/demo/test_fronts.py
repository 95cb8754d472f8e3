"""The examples around the burst: what is applied when, what is waited for, and where the fronts are; by the real manifests."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.cluster import Cluster
from demo.fronts import EXAMPLES, ROOT, Front, addresses, fronts, host_ports, not_ready

PARTS = [part for path in sorted(EXAMPLES.glob("*.yaml")) for part in yaml.safe_load_all(path.read_text())]
KIND_CONFIG = (ROOT / "kind-config.yaml").read_text()
SERVICES = [part for part in PARTS if part["kind"] == "Service"]


def labels(part: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = part["metadata"]["labels"]
    return found


def test_every_part_of_an_example_can_be_found_by_its_labels() -> None:
    for part in PARTS:
        assert labels(part)["app.kubernetes.io/part-of"] == "leveret-examples", part["metadata"]["name"]


def test_every_front_has_an_address_of_its_own() -> None:
    deployments = {
        part["metadata"]["name"]
        for part in PARTS
        if part["kind"] == "Deployment" and labels(part).get("app.kubernetes.io/component") == "front"
    }
    found = addresses(SERVICES, host_ports(KIND_CONFIG))
    assert {front.name for front in found} == deployments
    assert len({front.url for front in found}) == len(deployments)
    assert Front("url-check", "http://127.0.0.1:8081/") in found


def test_what_the_burst_needs_is_applied_first_and_nothing_else() -> None:
    first = {
        (part["kind"], part["metadata"]["name"])
        for part in PARTS
        if labels(part)["app.kubernetes.io/name"] in ("url-check", "url-check-targets")
        and labels(part).get("app.kubernetes.io/component") != "front"
    }
    targets = "url-check-targets"
    assert first == {("JobQueue", "url-check"), ("Deployment", targets), ("Service", targets)}


def workload(kind: str, wanted: int, **status: int) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "a"}, "spec": {"replicas": wanted}, "status": status}


def jobqueue(**status: Any) -> dict[str, Any]:
    return {"kind": "JobQueue", "metadata": {"name": "q"}, "spec": {}, **status}


def ready(status: str) -> dict[str, Any]:
    others = {"type": "MetricsFresh", "status": "False", "message": "old"}
    return {"status": {"conditions": [others, {"type": "Ready", "status": status, "message": "no broker"}]}}


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (workload("Deployment", 2, readyReplicas=2), None),
        (workload("Deployment", 0), None),
        (workload("Deployment", 2, readyReplicas=1), "Deployment a has 1 of 2 pods ready"),
        (workload("StatefulSet", 1), "StatefulSet a has 0 of 1 pods ready"),
        (jobqueue(**ready("True")), None),
        (jobqueue(**ready("Unknown")), "JobQueue q: no broker"),
        (jobqueue(), "JobQueue q"),
    ],
    ids=["there", "none wanted", "one of two", "none", "ready", "not ready", "not seen by the operator"],
)
def test_a_part_is_ready_or_it_is_told_what_it_lacks(part: dict[str, Any], said: str | None) -> None:
    assert not_ready([part]) == said
    assert not_ready([workload("Deployment", 1, readyReplicas=1), part, part]) == (said and f"{said}; {said}")


def test_the_fronts_that_run_are_asked_for_by_their_labels(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    asked = "get services -l app.kubernetes.io/part-of=leveret-examples,app.kubernetes.io/component=front -o json"
    found = '{"items": [{"metadata": {"name": "mailer"}, "spec": {"ports": [{"nodePort": 30084}, {"port": 1}]}}]}'
    program.write_text(f"#!/bin/sh\ncase \"$*\" in *'{asked}') echo '{found}';; esac\n")
    program.chmod(0o755)
    assert fronts(Cluster(str(program), "kind-leveret", "leveret")) == [Front("mailer", "http://127.0.0.1:8084/")]
