"""What the API server itself says to a JobQueue: defaults, and refusals that tell the fix."""

import json
from typing import Any

import pytest
from kube import Namespace


def jobqueue(name: str = "crd-test", **spec: Any) -> dict[str, Any]:
    consumer = {"image": "leveret/examples:0.1.0", "handlers": "examples.bench.handlers:handlers"}
    return {
        "apiVersion": "leveret.dev/v1alpha1",
        "kind": "JobQueue",
        "metadata": {"name": name},
        "spec": {"consumer": consumer, **spec},
    }


def refusal(namespace: Namespace, manifest: dict[str, Any]) -> str:
    return namespace.refused("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))


def test_the_smallest_jobqueue_gets_every_default(namespace: Namespace) -> None:
    text = namespace.kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(jobqueue()))
    spec = json.loads(text)["spec"]
    assert spec["consumer"]["concurrency"] == 10
    assert spec["timeout"] == "30s"
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


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        pytest.param(jobqueue(timeout="30"), "30s", id="a-duration-without-unit"),
        pytest.param(jobqueue(scaling={"minReplicas": 5, "maxReplicas": 2}), "maxReplicas", id="min-above-max"),
        pytest.param(jobqueue(scaling={"objective": {}}), "objective", id="no-objective"),
        pytest.param(jobqueue(retry={"maxAttempts": 0}), "maxAttempts", id="no-attempts"),
        pytest.param(jobqueue(retry={"backoff": {"initial": "1h"}}), "initial", id="initial-above-max"),
        pytest.param(jobqueue(consumer={"image": "x", "handlers": "no colon"}), "module:object", id="handlers-form"),
        pytest.param(jobqueue(limits={"inFlight": 3}), "limits", id="a-field-of-a-later-version"),
        pytest.param(jobqueue(name="x" * 41), "40", id="a-long-name"),
    ],
)
def test_a_jobqueue_that_cannot_work_is_refused_and_told_why(
    namespace: Namespace, manifest: dict[str, Any], says: str
) -> None:
    assert says in refusal(namespace, manifest)
