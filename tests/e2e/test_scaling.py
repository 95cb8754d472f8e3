"""From an idle system at 0 replicas to full size in one write, and back to 0 when the work is proven done."""

import time
from itertools import pairwise

import pytest
from api import Api, eventually
from kube import Namespace

BURST = [{"type": "sleep", "payload": {"seconds": 0.1}}] * 5000


WITHIN = 2.0  # s
TRIES = 3


@pytest.mark.timeout(1800)
def test_a_burst_is_answered_in_one_write_within_two_seconds(api: Api, namespace: Namespace, examples: None) -> None:
    def replicas() -> int:
        return int(namespace.get("deployment", "bench-consumer")["spec"]["replicas"])

    def proven_and_empty() -> bool:
        status = namespace.get("jobqueue", "bench")["status"]
        return bool(status["decisions"][0]["reason"] == "ProvenZero" and status["queue"]["backlog"] == 0)

    tries: list[float] = []
    while len(tries) < TRIES and min(tries, default=9) > WITHIN:  # another load on the machine only makes it slower
        eventually("bench is at 0 replicas", lambda: replicas() == 0, 300, every=1)
        with namespace.watch("deployment/bench-consumer", ".spec.replicas") as seen:
            eventually("the watch has begun", lambda seen=seen: len(seen) > 0, 60)
            posted = time.monotonic()
            ids = api.submit("leveret.bench", BURST)
            jobs = api.wait_final("leveret.bench", ids, 240)
            finished = time.monotonic()
        assert {job["state"] for job in jobs.values()} == {"succeeded"}
        written = [change for before, change in pairwise(seen) if change.value != before.value]
        tries.append(written[0].at - posted)
        print(
            f"\ntold {written[0].value} replicas {tries[-1]:.2f} s after the POST began, "
            f"drained after {finished - posted:.1f} s"
        )
        assert written[0].value == "10", written
    assert min(tries) <= WITHIN, tries

    eventually("bench is at 0 replicas again", lambda: replicas() == 0, 300, every=1)
    eventually("the status says that zero is proven, and of no backlog", proven_and_empty, 60)  # written a moment later


def test_kubectl_tells_the_story(api: Api, namespace: Namespace, examples: None) -> None:
    table = namespace.kubectl("get", "jq")
    columns = ["NAME", "READY", "WAITING", "BACKLOG", "REPLICAS", "DESIRED", "DEAD", "REASON", "AGE"]
    assert table.splitlines()[0].split() == columns
    (bench,) = (line.split() for line in table.splitlines() if line.startswith("bench "))
    assert bench[1] == "True"
    described = namespace.kubectl("describe", "jq", "bench")
    for word in ("Conditions", "BrokerReachable", "TopologyReady", "Decisions", "ProvenZero", "Events"):
        assert word in described
    print("\n" + table)
