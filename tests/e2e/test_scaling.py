"""From an idle system at 0 replicas to full size in one write, and back to 0 when the work is proven done."""

import time
from itertools import pairwise

import pytest
from api import Api, eventually
from kube import Namespace

BURST = [{"type": "sleep", "payload": {"seconds": 0.1}}] * 5000


@pytest.mark.timeout(600)
def test_a_burst_is_answered_in_one_write_within_two_seconds(api: Api, namespace: Namespace, examples: None) -> None:
    def replicas() -> int:
        return int(namespace.get("deployment", "bench-consumer")["spec"]["replicas"])

    eventually("bench is at 0 replicas", lambda: replicas() == 0, 300, every=1)
    with namespace.watch("deployment/bench-consumer", ".spec.replicas") as seen:
        eventually("the watch has begun", lambda: len(seen) > 0, 10)
        posted = time.monotonic()
        ids = api.submit("leveret.bench", BURST)
        jobs = api.wait_final("leveret.bench", ids, 240)
        finished = time.monotonic()
    assert {job["state"] for job in jobs.values()} == {"succeeded"}
    written = [change for before, change in pairwise(seen) if change.value != before.value]
    told = written[0].at - posted
    print(
        f"\ntold {written[0].value} replicas {told:.2f} s after the POST began, drained after {finished - posted:.1f} s"
    )
    assert written[0].value == "10", written
    assert told <= 2, written

    eventually("bench is at 0 replicas again", lambda: replicas() == 0, 300, every=1)
    status = namespace.get("jobqueue", "bench")["status"]
    reasons = [decision["reason"] for decision in status["decisions"]]
    assert reasons[0] == "ProvenZero"
    assert status["queue"]["backlog"] == 0


def test_kubectl_tells_the_story(api: Api, namespace: Namespace, examples: None) -> None:
    table = namespace.kubectl("get", "jq")
    assert table.splitlines()[0].split() == ["NAME", "READY", "BACKLOG", "REPLICAS", "DESIRED", "DEAD", "REASON", "AGE"]
    described = namespace.kubectl("describe", "jq", "bench")
    for word in ("Conditions", "BrokerReachable", "TopologyReady", "Decisions", "ProvenZero", "Events"):
        assert word in described
    print("\n" + table)
