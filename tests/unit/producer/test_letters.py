"""Dead messages as reports: who says why a message died, and which job it was."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aio_pika
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret import topology, wire
from leveret.events import Error
from leveret.jobs import DeadReason, Envelope, State
from leveret_producer.recorder import letters, merge, messages
from leveret_producer.recorder.batch import Batch, SetAside, read

JOB = UUID("6f1c1a52-6d3e-4c53-9f0a-0f4bb3a7d1ce")
QUEUE = "leveret.q"
DIED = datetime(2026, 9, 1, 12, 0, 0, tzinfo=UTC)
NOW = datetime(2026, 9, 1, 12, 0, 5, tzinfo=UTC)


@dataclass
class Received:
    """What a client library hands over; every property may be missing."""

    body: bytes = b"{}"
    headers: dict[str, Any] = field(default_factory=dict)
    message_id: str | None = str(JOB)
    type: str | None = "check-url"
    exchange: str | None = topology.DEAD
    routing_key: str | None = QUEUE
    timestamp: datetime | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    app_id: str | None = None


def received(**more: Any) -> Any:
    return Received(**more)


def died(reason: str, queue: str = QUEUE) -> dict[str, Any]:
    """What RabbitMQ 4.3 writes, as far as it counts."""
    return {"queue": queue, "reason": reason, "count": 1, "time": DIED, "exchange": topology.JOBS}


def test_a_consumers_copy_has_its_reason_and_its_error_and_is_answered_already() -> None:
    told = Error("AttemptsExhausted", "boom", "ValueError", "…")
    headers = {wire.REASON: "AttemptsExhausted", wire.ERROR: msgspec.json.encode(told).decode(), wire.ATTEMPT: 5}
    headers[wire.DEADLINE] = wire.as_time(DIED)
    report = letters.dead_letter(received(headers=headers, body=b"7", priority=3, reply_to="r"), NOW)
    event = report.event
    assert (report.queue, event.id, event.type, event.state, event.at) == (QUEUE, JOB, "check-url", State.DEAD, NOW)
    assert (event.error, event.attempt, event.generation, bytes(event.payload)) == (told, 5, 1, b"7")
    assert (event.priority, event.reply_to, event.deadline) == (3, "r", DIED)
    assert report.letter is not None
    assert not report.letter.unanswered


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("delivery_limit", DeadReason.DELIVERY_LIMIT),
        ("rejected", DeadReason.REJECTED),
        ("expired", DeadReason.DEADLINE_EXCEEDED),
        ("maxlen", DeadReason.REJECTED),
    ],
)
def test_what_the_broker_took_out_of_the_queue_has_the_brokers_reason_and_time(reason: str, expected: str) -> None:
    # The wait in a delay level before is no reason, nor is what the sender wrote.
    headers = {
        "x-death": [died(reason), died("expired", "leveret.delay.0")],
        "x-first-death-reason": "expired",
        "x-delivery-count": 21,
        wire.REASON: "Forged",
    }
    report = letters.dead_letter(received(headers=headers), NOW)
    assert report.event.error is not None
    assert (report.event.error.reason, report.event.at) == (expected, DIED)
    assert report.letter is not None
    assert report.letter.unanswered


@pytest.mark.parametrize(
    ("headers", "reason", "message"),
    [
        ({}, "Rejected", "it was published among the dead letters, without a reason"),
        ({wire.REASON: "\0"}, "Rejected", "it was published among the dead letters, without a reason"),
        ({wire.REASON: 7}, "Rejected", "it was published among the dead letters, without a reason"),
        ({wire.REASON: "GaveUp"}, "GaveUp", ""),
        ({wire.REASON: "GaveUp", wire.ERROR: "no JSON"}, "GaveUp", "no JSON"),
        ({wire.REASON: "GaveUp", wire.ERROR: b"\xff"}, "GaveUp", "b'\\xff'"),
        ({wire.REASON: "GaveUp", wire.ERROR: '{"x":' + "[" * 20_000}, "GaveUp", '{"x":[['),
        ({wire.REASON: "GaveUp", "x-death": "odd"}, "GaveUp", ""),
        ({wire.REASON: "GaveUp", "x-death": [1]}, "GaveUp", ""),
        ({wire.REASON: "GaveUp", "x-death": [died("expired", "leveret.delay.0")]}, "GaveUp", ""),
        ({"x-death": [{"queue": QUEUE, "time": "noon"}]}, "Rejected", "the broker took it out of its queue"),
    ],
)
def test_anything_may_be_in_the_headers(headers: dict[str, Any], reason: str, message: str) -> None:
    report = letters.dead_letter(received(headers=headers), NOW)
    assert report.event.error is not None
    assert (report.event.error.reason, report.event.at) == (reason, NOW)
    assert report.event.error.message.startswith(message)


_texts = st.none() | st.text(max_size=9)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_HEADERS = ["x-death", "x-delivery-count", wire.REASON, wire.ERROR, wire.ATTEMPT, wire.GENERATION, wire.TRACEPARENT]
_deaths = st.lists(st.dictionaries(st.sampled_from(["queue", "reason", "time"]), _values | st.just(QUEUE)), max_size=2)


@given(
    st.dictionaries(st.sampled_from(_HEADERS), _values | _deaths),
    st.fixed_dictionaries(
        dict.fromkeys(("message_id", "type", "routing_key", "correlation_id", "reply_to"), _texts)
        | {"body": st.binary(max_size=9), "timestamp": st.none() | st.datetimes(), "priority": st.integers(0, 255)}
    ),
    st.booleans(),
)
def test_whatever_a_message_is_a_row_can_be_made_of_it(
    headers: dict[str, Any], properties: dict[str, Any], live: bool
) -> None:
    message = received(headers=headers, **properties)
    for found in (letters.dead_letter(message, NOW), letters.without_queue(message, NOW, live=live)):
        if not isinstance(found, Envelope):
            [row] = merge.jobs([found])
            assert row.state == "dead"
            assert row.dead_reason
            assert "\0" not in row.dead_reason + row.type + row.queue + (row.error or "")
            assert len(messages.messages([found])) == 1


def test_a_message_without_an_id_has_the_same_one_at_each_delivery() -> None:
    def id_of(**more: Any) -> UUID:
        return letters.dead_letter(received(message_id="none", **more), NOW).event.id

    death = {"x-death": [died("delivery_limit")]}
    assert id_of(headers=death) == id_of(headers={**death, "x-delivery-count": 3})
    later = {"x-death": [{**died("delivery_limit"), "time": NOW}]}
    different = [
        id_of(headers=death),
        id_of(headers=later),
        id_of(headers=death, body=b"1"),
        id_of(headers=death, type=None),
        id_of(headers=death, routing_key="leveret.other"),
    ]
    assert len(set(different)) == len(different)


def test_what_no_queue_took_is_a_job_if_a_jobqueue_has_the_queue_else_a_dead_letter() -> None:
    message = received(exchange=topology.JOBS, headers={wire.ATTEMPT: 3})
    job = letters.without_queue(message, NOW, live=True)
    assert isinstance(job, Envelope)
    assert (job.id, job.queue, job.attempt) == (JOB, QUEUE, 3)
    for live, more, reason in (
        (False, {}, "QueueGone"),
        (False, {"message_id": None}, "QueueGone"),
        (True, {"message_id": None}, "NoId"),
        (True, {"type": None}, "UnknownType"),
        (True, {"headers": {wire.DELAY: "soon"}}, "InvalidDelay"),
        (False, {"headers": {wire.DELAY: "5s"}}, "QueueGone"),
    ):
        dead = letters.without_queue(received(**more), NOW, live=live)
        assert not isinstance(dead, Envelope)
        assert dead.event.error is not None
        assert dead.event.error.reason == reason
        assert dead.letter is not None
        assert dead.letter.unanswered


def test_what_no_queue_took_and_is_for_later_is_published_then() -> None:
    headers = {wire.PLUGINS_DELAY: 5_000, "mine": 1, wire.TRACEPARENT: "t"}
    report = letters.without_queue(received(exchange=topology.JOBS, headers=headers, body=b"\xff"), NOW, live=True)
    assert not isinstance(report, Envelope)
    [row], [message] = merge.jobs([report]), messages.messages([report])
    assert (row.state, row.attempt, row.due_at, row.told_at) == ("retrying", 0, NOW + timedelta(seconds=5), NOW)
    assert (row.error, row.dead_reason, row.purged_at, row.finished_at) == (None, None, None, None)
    assert (message.raw, message.headers, message.traceparent) == (b"\xff", '{"mine":1}', "t")
    assert merge.attempts([report]) == []


def test_a_dead_letter_keeps_its_senders_headers_for_a_redrive() -> None:
    headers = {wire.REASON: "Rejected", wire.ATTEMPT: 5, "mine": 1, wire.DELAY: "5s", wire.DEAD_LETTER: "{}"}
    [message] = messages.messages([letters.dead_letter(received(headers=headers), NOW)])
    assert msgspec.json.decode(message.headers or "") == {"mine": 1, wire.DEAD_LETTER: "{}"}


def test_a_body_that_is_too_large_is_not_kept_in_the_store() -> None:
    report = letters.dead_letter(received(body=b"x" * (wire.LARGEST_BODY + 1)), NOW)
    assert report.letter is not None
    assert not report.letter.keeps_body
    assert bytes(report.event.payload) == b""


def test_a_dead_letter_among_the_events_is_told_by_its_exchange_and_set_aside_as_it_is() -> None:
    batch = Batch()
    read(received(body=b"\xff", routing_key="job.q"), batch, NOW)
    read(received(body=b"\xff", routing_key="job.q", exchange=topology.EVENTS), batch, NOW)
    assert ([report.queue for report in batch.reports], len(batch.aside)) == (["job.q"], 1)
    aside: aio_pika.Message = SetAside.of_report(batch.reports[0], "because").message()
    assert (aside.body, aside.message_id) == (b"\xff", str(JOB))
    assert (aside.headers[wire.REASON], aside.headers["leveret-exchange"]) == ("because", topology.DEAD)


def test_of_a_dead_letter_that_is_too_large_for_the_store_no_more_is_kept_in_memory_than_tells_so() -> None:
    large = bytes(4 << 20)
    whole, cut = received(body=large, message_id=None), received(body=large, message_id=None)
    letters.shorten(cut)
    assert len(cut.body) == wire.LARGEST_BODY + 1
    before, after = letters.dead_letter(whole, NOW), letters.dead_letter(cut, NOW)
    assert (before.event, before.letter and before.letter.keeps_body) == (after.event, False)
    aside = SetAside.of_letter(cut, "its id belongs to another queue").message()
    assert aside.body == b""
    assert str(aside.headers[wire.REASON]).endswith("is in its queue of dead letters only")


@pytest.mark.parametrize("size", [0, wire.LARGEST_BODY], ids=["empty", "as large as the store takes"])
def test_a_dead_letter_that_the_store_takes_is_left_whole(size: int) -> None:
    message = received(body=bytes(size))
    letters.shorten(message)
    assert len(message.body) == size
    assert SetAside.of_letter(message, "why").message().body == bytes(size)


def test_what_comes_from_elsewhere_is_left_whole() -> None:
    message = received(body=bytes(4 << 20), exchange=topology.JOBS)
    letters.shorten(message)
    assert SetAside.of_letter(message, "why").message().body == message.body == bytes(4 << 20)
