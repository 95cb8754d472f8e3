"""Every field that the API has of a queue: told by real consumers and the operator, and as Kubernetes has it."""

from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

import pytest
from api import Api, eventually
from kube import Namespace

from leveret.version import VERSION

NAME = f"shown-{token_hex(3)}"  # of its own: what an earlier run left waiting would be older
QUEUE = f"/v1/queues/leveret.{NAME}"
IMAGE, HANDLERS = "leveret/examples:0.2.0", "examples.bench.handlers:handlers"
SLEEP, QUICK = ({"type": "sleep", "payload": {"seconds": seconds}} for seconds in (6, 0.1))
FIELDS = {  # of the interface card
    *("name", "jobqueue", "leveret_version", "ready", "unacked", "backlog", "dead_letters", "arrival_rate"),
    *("completion_rate", "oldest_age_seconds", "replicas", "ready_replicas", "desired_replicas", "paused"),
    *("observed_at", "decisions"),
}


def jobqueue() -> dict[str, Any]:
    consumer = {"image": IMAGE, "handlers": HANDLERS, "concurrency": 1}
    scaling = {"minReplicas": 1, "maxReplicas": 2, "objective": {"backlogPerReplica": 2}}
    spec = {"consumer": consumer, "scaling": scaling, "retry": {"maxAttempts": 1}}
    return {"apiVersion": "leveret.dev/v1alpha1", "kind": "JobQueue", "metadata": {"name": NAME}, "spec": spec}


@pytest.mark.timeout(300)
def test_every_field_of_a_queue_is_told_and_right(api: Api, namespace: Namespace) -> None:
    namespace.apply(jobqueue())
    try:
        jobs = [{"type": "fail", "payload": {"times": 9}}, *[SLEEP] * 60]  # some wait for as long as is looked
        api.submit(f"leveret.{NAME}", jobs)
        seen: dict[str, Any] = {}

        def all_at_once() -> bool:
            seen.clear()
            seen.update(api.get(QUEUE))
            missing = [name for name, value in seen.items() if value in (None, [])]
            assert not missing, missing
            api.submit(f"leveret.{NAME}", [QUICK])  # some come and some end, as long as is looked
            numbers = ("dead_letters", "unacked", "ready", "arrival_rate", "completion_rate")
            return seen["ready_replicas"] == 2 and all(seen[name] for name in numbers)

        eventually("everything is told", all_at_once, 120, every=1)
        assert seen.keys() == FIELDS
        there = namespace.get("deployment", f"{NAME}-consumer")
        assert (seen["replicas"], seen["ready_replicas"]) == (there["status"]["replicas"], 2)
        assert seen["desired_replicas"] == there["spec"]["replicas"] == 2
        assert seen["jobqueue"] == {"namespace": "leveret", "name": NAME}
        assert (seen["name"], seen["leveret_version"], seen["paused"]) == (f"leveret.{NAME}", VERSION, False)
        assert seen["dead_letters"] == 1
        # Beside the two: what is confirmed and not counted yet, and what has left ready and isn't seen running yet.
        assert 0 <= seen["backlog"] - seen["ready"] - seen["unacked"] <= 6
        assert 0 < seen["oldest_age_seconds"] < 300
        assert datetime.now(UTC) - datetime.fromisoformat(seen["observed_at"]) < timedelta(seconds=30)
        assert {"time", "from", "to", "reason", "message"} == seen["decisions"][0].keys()
        assert [one for one in api.get("/v1/queues")["queues"] if one["name"] == seen["name"]], "in the list, too"
    finally:
        namespace.kubectl("delete", "--wait=false", "jobqueue", NAME, check=False)
