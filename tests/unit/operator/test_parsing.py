"""From the API's dictionaries to values."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leveret.retry import Backoff, Jitter, RetryPolicy
from leveret.scaling.decide import Policy
from leveret_operator.jobqueue import BadSpec, QueueSpec
from leveret_operator.parsing import parse_deployment, parse_jobqueue, parse_recorded, parse_refused


def body(**spec: object) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "leveret", "name": "bench", "uid": "u", "generation": 2},
        "spec": {"consumer": {"image": "i:1", "handlers": "a.b:c"}, **spec},
    }


def test_the_fields_of_the_schema_and_their_defaults() -> None:
    jobqueue = parse_jobqueue(body())
    assert (jobqueue.queue, jobqueue.deployment) == ("leveret.bench", "bench-consumer")
    assert jobqueue.policy == Policy(0, 10, 100, timedelta(seconds=60), timedelta(minutes=2))
    assert (jobqueue.retry, jobqueue.timeout, jobqueue.consumer.concurrency) == (
        RetryPolicy(),
        timedelta(seconds=30),
        10,
    )


def test_all_that_can_be_said() -> None:
    jobqueue = parse_jobqueue(
        body(
            retry={"maxAttempts": 2, "backoff": {"initial": "250ms", "factor": 1.5, "max": "1h", "jitter": "none"}},
            timeout="2m",
            scaling={
                "minReplicas": 1,
                "maxReplicas": 4,
                "objective": {"backlogPerReplica": 7},
                "scaleDownStabilization": "5s",
                "scaleToZeroAfter": "0s",
            },
        )
    )
    backoff = Backoff(timedelta(milliseconds=250), 1.5, timedelta(hours=1), Jitter.NONE)
    assert (jobqueue.retry, jobqueue.timeout) == (RetryPolicy(2, backoff), timedelta(minutes=2))
    assert jobqueue.policy == Policy(1, 4, 7, timedelta(seconds=5), timedelta(0))


def test_what_is_said_of_the_queue() -> None:
    assert parse_jobqueue(body()).queue_spec == QueueSpec(None, None, 20, None)
    said = {"name": "shop.mails", "maxLength": 5, "deliveryLimit": 3, "from": {"deadLettersOf": "other"}}
    jobqueue = parse_jobqueue(body(queue=said))
    assert jobqueue.queue_spec == QueueSpec("shop.mails", 5, 3, "other")
    assert (jobqueue.queue, jobqueue.deployment) == ("shop.mails", "bench-consumer")


def test_one_that_nobody_dated_is_later_than_all_others() -> None:
    dated = body()
    dated["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    assert parse_jobqueue(dated).created == datetime(2026, 1, 1, tzinfo=UTC)
    assert parse_jobqueue(body()).created > parse_jobqueue(dated).created


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        pytest.param({"timeout": "soon"}, "timeout: 'soon' is not a duration", id="duration"),
        pytest.param({"timeout": 30}, "timeout: '30' is not a duration: .* such as 30s", id="a-number"),
        pytest.param({"consumer": {"image": "i"}}, "the field handlers is missing", id="missing"),
        pytest.param({"retry": {"backoff": {"jitter": "much"}}}, "'much' is not a valid Jitter", id="no-such-word"),
        pytest.param({"scaling": {"maxReplicas": []}}, "scaling.maxReplicas: \\[\\] is no number", id="wrong-type"),
    ],
)
def test_what_cannot_be_understood_is_named(spec: dict[str, object], says: str) -> None:
    with pytest.raises(BadSpec, match=says):
        parse_jobqueue(body(**spec))


BAD = {
    "timeout": {"timeout": "soon"},
    "no-consumer": {"consumer": 7},
    "retry": {"retry": {"maxAttempts": []}},
    "jitter": {"retry": {"backoff": {"jitter": "much"}}},
    "stabilization": {"scaling": {"minReplicas": 2, "maxReplicas": 7, "scaleDownStabilization": "soon"}},
    "replicas": {"scaling": {"minReplicas": {}, "maxReplicas": 7}},
    "objective": {"scaling": {"objective": {"backlogPerReplica": "many"}}},
    "everything": {"consumer": [], "retry": [], "scaling": [], "timeout": []},
}


@pytest.mark.parametrize("spec", [pytest.param(spec, id=name) for name, spec in BAD.items()])
def test_one_that_cannot_be_understood_keeps_its_claim_and_its_size(spec: dict[str, object]) -> None:
    bad = body(**{"queue": {"name": "shop.mails", "deliveryLimit": 21, "from": {"deadLettersOf": "o"}}, **spec})
    bad["metadata"] |= {"creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z"}
    with pytest.raises(BadSpec) as problem:
        parse_jobqueue(bad)
    read = parse_refused(bad, problem.value)
    assert (read.queue, read.queue_spec.dead_letters_of, read.uid, read.generation) == ("shop.mails", "o", "u", 2)
    assert (read.created, read.going, read.problem) == (datetime(2026, 1, 1, tzinfo=UTC), True, str(problem.value))
    sizes = (2, 7) if "scaleDownStabilization" in str(spec) else (0, 10)
    assert (read.policy.min_replicas, read.policy.max_replicas, read.policy.backlog_per_replica) == (*sizes, 100)


def test_the_version_is_that_of_the_handlers_only() -> None:
    assert parse_jobqueue(body()).version == parse_jobqueue(body(timeout="1m")).version
    other = body(consumer={"image": "i:2", "handlers": "a.b:c"})
    assert parse_jobqueue(body()).version != parse_jobqueue(other).version


def test_decisions_and_conditions_survive_a_restart() -> None:
    decided = {"time": "2026-01-01T00:00:00.5Z", "from": 1, "to": 5, "reason": "Backlog", "message": "m"}
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Reconciled",
        "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 2,
    }
    recorded = parse_recorded({"status": {"decisions": [decided, {"to": 1}], "conditions": [condition, {}]}})
    assert [(entry.at.microsecond, entry.before, entry.after) for entry in recorded.decisions] == [(500_000, 1, 5)]
    assert [(entry.type, entry.since) for entry in recorded.conditions] == [("Ready", datetime(2026, 1, 1, tzinfo=UTC))]
    assert parse_recorded({}).decisions == ()


def deployment(**template: object) -> dict[str, Any]:
    return {
        "metadata": {"name": "bench-consumer", "uid": "u", "resourceVersion": "7"},
        "spec": {"replicas": 3, "template": template},
        "status": {"replicas": 2},
    }


def test_a_deployments_fingerprint_follows_the_template_and_not_the_size() -> None:
    one = parse_deployment(deployment(a=1))
    assert (one.jobqueue, one.is_consumers, one.controller) == ("bench", True, None)
    assert (one.wanted, one.there, one.revision) == (3, 2, 7)
    scaled = deployment(a=1)
    scaled["spec"]["replicas"] = 9
    assert parse_deployment(scaled).fingerprint == one.fingerprint
    assert parse_deployment(deployment(a=2)).fingerprint != one.fingerprint


def test_a_deployment_says_whose_it_is() -> None:
    body = deployment()
    owners = [{"kind": "Team", "uid": "t"}, {"kind": "JobQueue", "uid": "q", "controller": True}]
    body["metadata"] |= {"name": "mine", "labels": {"leveret.dev/jobqueue": "bench"}, "ownerReferences": owners}
    one = parse_deployment(body)
    assert (one.is_consumers, one.controller) == (False, "q")
