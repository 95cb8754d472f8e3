"""Whatever was stored under another schema: the nearest that works is taken and said, or the JobQueue is held as it is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.retry import RetryPolicy
from leveret_consumer.prefetch import MOST_EXTRA, consumer_timeout
from leveret_operator.bounds import DURATIONS, LONGEST, LONGEST_TIMEOUT, NUMBERS
from leveret_operator.deployment import Surroundings, build_deployment
from leveret_operator.jobqueue import BadSpec, JobQueue
from leveret_operator.parsing import parse_jobqueue, parse_refused

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def body(spec: object) -> dict[str, Any]:
    return {"metadata": {"namespace": "leveret", "name": "bench", "uid": "u"}, "spec": spec}


def with_value(path: str, value: object, **others: object) -> dict[str, Any]:
    """A good spec with one value in it."""
    spec: dict[str, Any] = {"consumer": {"image": "i:1", "handlers": "a.b:c"}, **others}
    *folders, field = path.split(".")
    inner = spec
    for folder in folders:
        inner = inner.setdefault(folder, {})
    inner[field] = value
    return body(spec)


def values_of(jobqueue: JobQueue) -> dict[str, Any]:
    policy, backoff = jobqueue.policy, jobqueue.retry.backoff
    return {
        "consumer.concurrency": jobqueue.consumer.concurrency,
        "consumer.startupTimeout": jobqueue.consumer.startup_timeout,
        "queue.maxLength": jobqueue.queue_spec.max_length,
        "queue.deliveryLimit": jobqueue.queue_spec.delivery_limit,
        "retry.maxAttempts": jobqueue.retry.max_attempts,
        "retry.backoff.initial": backoff.initial,
        "retry.backoff.factor": backoff.factor,
        "retry.backoff.max": backoff.max,
        "timeout": jobqueue.timeout,
        "scaling.minReplicas": policy.min_replicas,
        "scaling.maxReplicas": policy.max_replicas,
        "scaling.objective.backlogPerReplica": policy.backlog_per_replica,
        "scaling.scaleDownStabilization": policy.stabilization,
        "scaling.scaleToZeroAfter": policy.zero_after,
    }


@pytest.mark.parametrize(
    ("path", "value", "taken"),
    [
        pytest.param("consumer.concurrency", 0, 1, id="no-slots"),
        pytest.param("consumer.concurrency", 1001, 1000, id="too-many-slots"),
        pytest.param("consumer.startupTimeout", "90s", timedelta(minutes=2), id="startup-too-short"),
        pytest.param("consumer.startupTimeout", "31m", timedelta(minutes=30), id="startup-too-long"),
        pytest.param("queue.maxLength", 0, 1, id="length-of-nothing"),
        pytest.param("queue.maxLength", 2**64, 2**63 - 1, id="length-beyond-the-database"),
        pytest.param("queue.deliveryLimit", 21, 20, id="more-deliveries-than-the-broker-makes"),
        pytest.param("retry.maxAttempts", 0, 1, id="no-attempt"),
        pytest.param("retry.maxAttempts", 10**30, 1000, id="attempts-without-end"),
        pytest.param("retry.backoff.factor", 0.5, 1.0, id="shrinking-waits"),
        pytest.param("retry.backoff.factor", float("inf"), 100.0, id="1e400"),
        pytest.param("retry.backoff.initial", "20m", timedelta(minutes=10), id="initial-above-max"),
        pytest.param("retry.backoff.max", "0s", timedelta(0), id="max-below-initial"),
        pytest.param("timeout", "0ms", timedelta(milliseconds=1), id="no-time-at-all"),
        pytest.param("timeout", "0.4ms", timedelta(milliseconds=1), id="less-than-a-consumer-can-be-told"),
        pytest.param("timeout", "9000h", LONGEST_TIMEOUT, id="too-long-for-the-broker"),
        pytest.param("timeout", "9" * 400 + "h", LONGEST_TIMEOUT, id="no-time-has-so-many-digits"),
        pytest.param("scaling.minReplicas", -1, 0, id="less-than-no-pod"),
        pytest.param("scaling.minReplicas", 11, 10, id="min-above-max"),
        pytest.param("scaling.maxReplicas", 0, 1, id="max-of-nothing"),
        pytest.param("scaling.maxReplicas", 5000, 1000, id="too-many-pods"),
        pytest.param("scaling.objective.backlogPerReplica", 0, 1, id="objective-of-nothing"),
        pytest.param("scaling.scaleDownStabilization", "9999999h", LONGEST, id="a-window-before-all-time"),
    ],
)
def test_a_value_out_of_bounds_is_taken_as_the_nearest_and_said(path: str, value: object, taken: object) -> None:
    jobqueue = parse_jobqueue(with_value(path, value))
    assert values_of(jobqueue)[path] == taken
    said = path if path != "retry.backoff.max" else "retry.backoff.initial"  # which is lowered with it
    (sentence,) = jobqueue.adjusted
    assert sentence.startswith(f"spec.{said} is ")
    assert sentence.endswith(", the nearest that works")


def test_what_is_said_names_both_values() -> None:
    spec = with_value("scaling.minReplicas", 11, timeout="0ms")
    assert parse_jobqueue(spec).adjusted == (
        "spec.timeout is 0ms and is taken as 1ms, the nearest that works",
        "spec.scaling.minReplicas is 11 and is taken as 10, the nearest that works",
    )


def test_nothing_is_said_of_what_is_within_or_left_out() -> None:
    assert parse_jobqueue(with_value("timeout", "7200h")).adjusted == ()
    jobqueue = parse_jobqueue(
        with_value("scaling.objective", {})
    )  # and so of an object without any, or stored with 100
    assert (jobqueue.policy.backlog_per_replica, jobqueue.retry, jobqueue.adjusted) == (100, RetryPolicy(), ())


def test_the_longest_timeout_is_one_that_the_broker_can_wait_for() -> None:
    """A quorum queue of RabbitMQ 4.3 is down for good when it is asked for more: 2^63 ns, less the time since its start."""
    asked = consumer_timeout(LONGEST_TIMEOUT, slots=1, prefetch=1 + MOST_EXTRA)
    assert asked < timedelta(microseconds=2**63 / 1000) - timedelta(days=365 * 10)


NUMERIC = st.integers() | st.integers(-(10**40), 10**40) | st.floats()
UNITS = st.builds("{}{}".format, NUMERIC, st.sampled_from(["ms", "s", "m", "h", ""]))
LEAVES = st.none() | st.booleans() | NUMERIC | UNITS | st.text(max_size=5) | st.just("9" * 400 + "h")
ANY = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)
KNOWN = sorted({part for path in (*NUMBERS, *DURATIONS) for part in path.split(".")} | {"name", "from", "jitter"})
SPECS = st.recursive(ANY, lambda inner: st.dictionaries(st.sampled_from(KNOWN), inner), max_leaves=8)
VALUES = st.builds(with_value, st.sampled_from([*NUMBERS, *DURATIONS]), LEAVES)
PAIRS = st.builds(
    lambda scaling, backoff: with_value("scaling", scaling, retry={"backoff": backoff}),
    st.dictionaries(st.sampled_from(["minReplicas", "maxReplicas"]), NUMERIC),
    st.dictionaries(st.sampled_from(["initial", "max"]), UNITS),
)


@given(VALUES | PAIRS | SPECS.map(body))
def test_any_json_is_read_and_what_is_read_lies_in_bounds(any_body: dict[str, Any]) -> None:
    try:
        jobqueue = parse_jobqueue(any_body)
    except BadSpec as problem:
        jobqueue = parse_refused(any_body, problem)
    values = values_of(jobqueue)
    for path, (_, least, most) in NUMBERS.items():
        assert values[path] is None or least <= values[path] <= most
    for path, (_, shortest, longest) in DURATIONS.items():
        assert shortest <= values[path] <= longest
    assert jobqueue.policy.min_replicas <= jobqueue.policy.max_replicas
    assert NOW - jobqueue.policy.stabilization < NOW + jobqueue.policy.zero_after
    build_deployment(jobqueue, Surroundings("leveret-broker", None, "json"))
