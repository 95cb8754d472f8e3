"""Events and signals survive the way over the broker, and what nobody of us wrote is refused."""

import json
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from leveret import events, signals
from leveret.events import (
    Error,
    HandlerInfo,
    HandlersRegistered,
    JobEvent,
    JobQueuesListed,
    QueueDecided,
    QueueDefined,
    QueueObserved,
)
from leveret.jobs import State, merge_key

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = UUID(int=7)


@pytest.mark.parametrize(
    ("key", "event"),
    [
        pytest.param("job.a.b", [JobEvent(JOB, "t", State.RUNNING, NOW, "pod", attempt=2)], id="running"),
        pytest.param("job.a.b", [JobEvent(JOB, "t", State.DEAD, NOW, "pod", error=Error("NotJson", "…"))], id="dead"),
        pytest.param("handlers.a.b", HandlersRegistered("v1", {"t": HandlerInfo({"type": "object"})}), id="handlers"),
        pytest.param("queue.a.b", QueueDefined("a", "b", NOW, "v1", 5, 30.0), id="defined"),
        pytest.param("queue.a.b", QueueObserved(NOW, ready=3), id="observed"),
        pytest.param("queue.a.b", QueueDecided(NOW, 0, 5, "Backlog", "…"), id="decided"),
        pytest.param("jobqueues.a.b", JobQueuesListed(NOW, {"mails": "a.mails", "odd": None}), id="listed"),
    ],
)
def test_an_event_comes_out_as_it_went_in(key: str, event: events.Event) -> None:
    assert events.decode(key, events.encode(event)) == ("a.b", event)


def test_a_result_is_carried_as_the_bytes_it_was() -> None:
    event = JobEvent(JOB, "t", State.SUCCEEDED, NOW, "pod", result=msgspec.Raw(b'{"a":  1.0}'))
    (_, decoded) = events.decode("job.q", events.encode([event]))
    assert isinstance(decoded, list)
    assert bytes(decoded[0].result) == b'{"a":  1.0}'


def test_an_event_without_a_result_writes_none() -> None:
    assert b"result" not in events.encode([JobEvent(JOB, "t", State.RUNNING, NOW, "pod")])


def test_an_event_knows_its_place() -> None:
    event = JobEvent(JOB, "t", State.RETRYING, NOW, "pod", attempt=3, generation=2, delivery=1)
    assert event.key == merge_key(State.RETRYING, 2, 3, 1)


@pytest.mark.parametrize(
    ("key", "body"),
    [
        pytest.param("job.q", b"", id="empty"),
        pytest.param("job.q", b"not json", id="not-json"),
        pytest.param("job.q", b'[{"id": 1}]', id="wrong-types"),
        pytest.param("queue.q", b'{"type": "exploded"}', id="unknown-kind"),
        pytest.param("job", b"[]", id="no-queue"),
        pytest.param("other.q", b"[]", id="unknown-key"),
    ],
)
def test_what_no_version_of_us_wrote_is_a_value_error(key: str, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"routing key|body"):
        events.decode(key, body)


@pytest.mark.parametrize(
    ("signal", "key"),
    [
        (signals.Hint("p", "a.b", NOW, committed=9, unconfirmed=3), "hint.a.b"),
        (signals.Heartbeat("c", "a.b", NOW, slots=5, in_flight=2, finished=7, busy_seconds=1.5), "heartbeat.a.b"),
        (signals.Heartbeat("c", "a.b", NOW, 5, 2, 7, 1.5, stopping=True, leveret="0.2.0"), "heartbeat.a.b"),
    ],
)
def test_a_signal_comes_out_as_it_went_in(signal: signals.Signal, key: str) -> None:
    assert signals.routing_key(signal) == key
    assert signals.decode(signals.encode(signal)) == signal


HINT = {"type": "hint", "producer": "p", "queue": "a.b", "at": "2026-01-01T00:00:00Z", "committed": 1, "unconfirmed": 1}
BEAT = {"type": "heartbeat", "consumer": "c", "queue": "a.b", "at": "2026-01-01T00:00:00Z", "slots": 1, "in_flight": 0}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"{}", id="no kind"),
        pytest.param(b"[" * 20_000, id="lists in lists"),
        pytest.param(json.dumps(HINT).encode()[:-1] + b',"x":' + b"[" * 20_000, id="an unknown field, too deep"),
        pytest.param(json.dumps(HINT | {"queue": "\ud800"}).encode(), id="half a character"),
        pytest.param(json.dumps(HINT | {"at": "2026-01-01T00:00:00"}).encode(), id="a time without a zone"),
        pytest.param(json.dumps(HINT | {"at": "0000-01-01T00:00:00Z"}).encode(), id="a year that there isn't"),
        pytest.param(json.dumps(HINT | {"oldest_waiting_since": "2026-01-01T00:00:00"}).encode(), id="since when"),
        pytest.param(json.dumps(HINT | {"unconfirmed": -1}).encode(), id="less than nothing"),
        pytest.param(json.dumps(HINT | {"committed": 10**400}).encode(), id="more than a float holds"),
        pytest.param(json.dumps(BEAT | {"finished": 1, "busy_seconds": float("nan")}).encode(), id="NaN"),
        pytest.param(json.dumps(BEAT | {"finished": 2**63, "busy_seconds": 1}).encode(), id="more than a column holds"),
    ],
)
def test_what_is_no_signal_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a signal|codec can't decode"):
        signals.decode(body)


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_signal_of_any_time_can_be_reckoned_with(at: str) -> None:
    hint = signals.decode(json.dumps(HINT | {"oldest_waiting_since": at, "at": at}).encode())
    assert isinstance(hint, signals.Hint)
    assert min(hint.at, NOW) in {hint.at, NOW}
    assert abs((NOW - hint.at).total_seconds()) > 1e9
