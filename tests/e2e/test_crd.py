"""What the API server itself says to a JobQueue: defaults, and refusals that tell the fix."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from kube import Namespace

REFUSED = yaml.safe_load((Path(__file__).parents[1] / "chart" / "refused.yaml").read_text())
NAMED = "crd-named"


def jobqueue(name: str = "crd-test", **spec: Any) -> dict[str, Any]:
    consumer = {"image": "leveret/examples:0.2.0", "handlers": "examples.bench.handlers:handlers"}
    return {
        "apiVersion": "leveret.dev/v1alpha1",
        "kind": "JobQueue",
        "metadata": {"name": name},
        "spec": {"consumer": consumer, **spec},
    }


def changed(path: str, value: object) -> dict[str, Any]:
    """A good JobQueue with one field changed, or without it where the value is None."""
    made = copy.deepcopy(jobqueue())
    *folders, field = path.split(".")
    inner = made
    for folder in folders:
        inner = inner.setdefault(folder, {})
    if value is None:
        del inner[field]
    else:
        inner[field] = value
    return made


def refusal(namespace: Namespace, manifest: dict[str, Any]) -> str:
    return namespace.refused("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))


def test_the_smallest_jobqueue_gets_every_default(namespace: Namespace) -> None:
    text = namespace.kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(jobqueue()))
    spec = json.loads(text)["spec"]
    assert spec["consumer"]["concurrency"] == 10
    assert spec["timeout"] == "30s"
    assert spec["queue"] == {"deliveryLimit": 20}
    assert spec["retry"] == {
        "maxAttempts": 5,
        "backoff": {"initial": "1s", "factor": 2, "max": "10m", "jitter": "full"},
    }
    assert spec["scaling"] == {
        "minReplicas": 0,
        "maxReplicas": 10,
        "objective": {"backlogPerReplica": 100},
        "scaleDownStabilization": "60s",
        "scaleToZeroAfter": "2m",
    }


@pytest.mark.parametrize("case", REFUSED, ids=[case["id"].replace(" ", "-") for case in REFUSED])
def test_a_jobqueue_that_cannot_work_is_refused_and_told_why(namespace: Namespace, case: dict[str, Any]) -> None:
    assert case["says"] in refusal(namespace, changed(case["path"], case["value"]))


def test_the_name_of_a_queue_is_for_good(namespace: Namespace) -> None:
    named = f"{namespace.name}.crd-queue"
    namespace.apply(jobqueue(NAMED, queue={"name": named}))
    try:
        for spec in ({}, {"queue": {"name": f"{named}-2"}}):
            assert "queue.name can't be changed, added or removed" in refusal(namespace, jobqueue(NAMED, **spec))
        namespace.apply(jobqueue(NAMED, queue={"name": named, "maxLength": 5}))  # the rest can be changed
    finally:
        namespace.kubectl("delete", "jobqueue", NAMED)


def test_a_name_that_is_taken_or_not_allowed_is_told_and_left_alone(namespace: Namespace) -> None:
    other = {"crd-other": {"name": "elsewhere.crd-other"}, "crd-second": {"name": f"{namespace.name}.{NAMED}"}}
    namespace.apply(jobqueue(NAMED))
    try:
        namespace.kubectl("wait", "jobqueue", NAMED, "--for=condition=Ready", "--timeout=300s")
        for name, queue in other.items():
            namespace.apply(jobqueue(name, queue=queue))
        for name, reason in (("crd-other", "QueueNameNotAllowed"), ("crd-second", "QueueNameTaken")):
            said = f'{{.status.conditions[?(@.type=="TopologyReady")].reason}}={reason}'
            namespace.kubectl("wait", "jobqueue", name, f"--for=jsonpath={said}", "--timeout=180s")
            assert f"{name}-consumer" not in namespace.kubectl("get", "deployments", "-o", "name")
        namespace.kubectl("delete", "jobqueue", NAMED)
        namespace.kubectl("wait", "jobqueue", "crd-second", "--for=condition=Ready", "--timeout=180s")
    finally:
        namespace.kubectl("delete", "jobqueue", "--ignore-not-found", NAMED, *other)
