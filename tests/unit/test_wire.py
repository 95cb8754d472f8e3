"""A job as a message and back, and whatever else a foreign client may send."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from leveret import wire
from leveret.jobs import DeadLetterInfo, DeadReason, Envelope
from leveret.wire import Unreadable

NOON = datetime(2026, 9, 1, 12, 0, 0, tzinfo=UTC)
JOB = Envelope(UUID("6f1c1a52-6d3e-4c53-9f0a-0f4bb3a7d1ce"), "leveret.q", "check-url", b'{"url":"http://x"}')


@dataclass
class Received:
    """What a client library hands over; every property may be missing."""

    body: bytes = b"{}"
    headers: dict[str, Any] = field(default_factory=dict)
    message_id: str | None = str(JOB.id)
    type: str | None = "check-url"
    timestamp: datetime | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    app_id: str | None = None
    user_id: str | None = None
    expiration: float | None = None


def received(message: aio_pika.Message) -> Any:
    return Received(
        **{
            name: getattr(message, name)
            for name in Received.__dataclass_fields__
            if name not in {"headers", "user_id", "expiration"}
        },
        headers=dict(message.headers),
    )


ids = st.uuids()
to_the_ms = st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)).map(wire.deadline_of)  # noqa: DTZ001
texts = st.text(min_size=1, max_size=50)
envelopes = st.builds(
    Envelope,
    id=ids,
    queue=st.just("leveret.q"),
    type=st.text(min_size=1, max_size=50),
    body=st.binary(max_size=100),
    attempt=st.integers(1, 10_000),
    generation=st.integers(1, 10_000),
    submitted_at=st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    priority=st.none() | st.integers(1, 31),
    correlation_id=st.none() | texts,
    reply_to=st.none() | texts,
    traceparent=st.none() | st.text(min_size=1, max_size=50),
    deadline=st.none() | to_the_ms,
)


@given(envelopes)
def test_what_is_written_is_read_again(job: Envelope) -> None:
    assert wire.from_message(received(wire.to_message(job)), "leveret.q") == job


junk = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.integers())


@given(
    st.text(max_size=50) | st.none() | ids.map(str),
    st.text(max_size=20) | st.none(),
    st.dictionaries(
        st.sampled_from(
            ["leveret-attempt", "leveret-generation", "leveret-deadline", "x-delivery-count", "traceparent"]
        ),
        junk,
    ),
)
def test_whatever_comes_is_an_envelope_or_a_reason(message_id: Any, type: Any, headers: Any) -> None:
    message: Any = Received(message_id=message_id, type=type, headers=headers)
    read = wire.from_message(message, "leveret.q")
    if isinstance(read, Envelope):
        assert 1 <= read.attempt <= wire.MOST
        assert 1 <= read.generation <= wire.MOST
        assert 0 <= read.delivery <= wire.MOST
    else:
        assert read.reason in {DeadReason.NO_ID, DeadReason.UNKNOWN_TYPE}
        assert read.attempt >= 1
        assert read.generation >= 1


UNREADABLE = [
    pytest.param(Received(message_id=None), DeadReason.NO_ID, None, id="no id"),
    pytest.param(Received(message_id="17"), DeadReason.NO_ID, None, id="an id that is no UUID"),
    pytest.param(Received(body=b" " * 262_145), DeadReason.TOO_LARGE, JOB.id, id="a body above 256 KiB"),
    pytest.param(Received(body=b" " * 262_145, message_id="x", type=""), DeadReason.TOO_LARGE, None, id="and no id"),
    pytest.param(Received(type=None), DeadReason.UNKNOWN_TYPE, JOB.id, id="no type"),
    pytest.param(Received(type=""), DeadReason.UNKNOWN_TYPE, JOB.id, id="an empty type"),
]


@pytest.mark.parametrize(("message", "reason", "job"), UNREADABLE)
def test_what_is_no_job_says_why(message: Any, reason: DeadReason, job: UUID | None) -> None:
    read = wire.from_message(message, "leveret.q")
    assert isinstance(read, Unreadable)
    assert (read.reason, read.id) == (reason, job)
    assert "must" in read.detail


def test_the_largest_body_is_one_that_the_front_door_takes() -> None:
    message: Any = Received(body=b" " * wire.LARGEST_BODY)
    assert isinstance(wire.from_message(message, "leveret.q"), Envelope)


def test_what_can_not_be_run_is_still_of_its_attempt_and_generation() -> None:
    message: Any = Received(type="", headers={"leveret-attempt": 3, "leveret-generation": 2})
    read = wire.from_message(message, "leveret.q")
    assert isinstance(read, Unreadable)
    assert (read.attempt, read.generation) == (3, 2), "or the report of a redriven job's end would be an old one"


def test_a_copy_may_be_given_an_id() -> None:
    message: Any = Received(message_id="none of ours")
    assert wire.copy_of(message, {}, reply_to=None).message_id == "none of ours"
    assert wire.copy_of(message, {}, reply_to=None, message_id=str(JOB.id)).message_id == str(JOB.id)


DELIVERIES = [
    pytest.param({}, 0, id="the first"),
    pytest.param({"x-delivery-count": 3}, 3, id="three that failed"),
    pytest.param({"x-delivery-count": 3, "x-acquired-count": 5}, 3, id="and two that were given back"),
    pytest.param({"x-acquired-count": 5}, 0, id="only given back"),
    pytest.param({"x-delivery-count": 21, "x-acquired-count": 1}, 1, id="a count that it brought from another queue"),
    pytest.param({"x-delivery-count": -1, "x-acquired-count": "x"}, 0, id="no counts"),
    pytest.param({"leveret-delivered": 2}, 2, id="two before it was given back to be judged by another version"),
    pytest.param({"leveret-delivered": 2, "x-delivery-count": 3}, 5, id="and three since"),
    pytest.param({"leveret-delivered": 2**62, "x-delivery-count": 3}, wire.MOST, id="more than there can be"),
    pytest.param({"leveret-delivered": -4, "x-delivery-count": 3}, 3, id="fewer than none"),
    pytest.param({"leveret-delivered": b"x", "x-delivery-count": 3}, 3, id="no number"),
]


@pytest.mark.parametrize(("headers", "delivery"), DELIVERIES)
def test_the_brokers_count_is_the_delivery(headers: dict[str, Any], delivery: int) -> None:
    message: Any = Received(headers=headers)
    read = wire.from_message(message, "leveret.q")
    assert isinstance(read, Envelope)
    assert read.delivery == delivery


def test_a_uuid7_sharpens_the_timestamp_of_its_second() -> None:
    at = NOON + timedelta(milliseconds=789)
    made = UUID(int=(int(at.timestamp() * 1000) << 80) | 7 << 76 | 2 << 62 | 12345)
    message: Any = Received(message_id=str(made), timestamp=NOON)
    read = wire.from_message(message, "leveret.q")
    assert isinstance(read, Envelope)
    assert read.submitted_at == at
    message.timestamp = NOON - timedelta(hours=1)
    read = wire.from_message(message, "leveret.q")
    assert isinstance(read, Envelope)
    assert read.submitted_at == NOON - timedelta(hours=1), "an id that is older or newer than the message says nothing"


def test_a_copy_keeps_what_the_sender_wrote_and_drops_what_would_misbehave() -> None:
    message: Any = Received(
        body=b"\x00not json",
        headers={
            "mine": "kept",
            "n": 5,
            "leveret-attempt": 1,
            "x-death": [{"count": 1}],
            "x-delivery-count": 2,
            "leveret-given-back-since": "2026-09-01T12:00:00Z",
            "leveret-delivered": 3,
            "CC": ["other.queue"],
            "BCC": "other",
            "nested": {"a": 1},
        },
        expiration=5.0,
        user_id="somebody",
        app_id="shop",
        correlation_id="c",
        reply_to="r",
        priority=3,
        timestamp=NOON,
    )
    copy = wire.copy_of(message, {"leveret-attempt": 2}, reply_to="r")
    assert copy.headers == {"mine": "kept", "n": 5, "leveret-attempt": 2}
    assert (copy.expiration, copy.user_id) == (None, None)
    assert copy.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
    same = ("body", "message_id", "type", "app_id", "correlation_id", "reply_to", "priority", "timestamp")
    assert [getattr(copy, name) for name in same] == [getattr(message, name) for name in same]


@pytest.mark.parametrize(
    ("value", "since"),
    [
        ("2026-09-01T12:00:00.250Z", datetime(2026, 9, 1, 12, 0, 0, 250_000, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("0001-01-01T00:00:00+23:00", None),
        ("2026-09-01T12:00:00", None),
        (1_788_264_000, None),
        (datetime(2026, 9, 1, tzinfo=UTC), None),
        (b"\xff", None),
    ],
)
def test_since_when_it_is_given_back_is_a_time_or_not_known(value: Any, since: datetime | None) -> None:
    read = wire.from_message(_received(headers={wire.GIVEN_BACK_SINCE: value}), "leveret.q")
    assert isinstance(read, Envelope)
    assert read.given_back_since == since


LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
DEADLINES = [
    pytest.param("2026-09-01T12:00:00.250Z", NOON + timedelta(milliseconds=250), id="with milliseconds"),
    pytest.param("2026-09-01T12:00:00Z", NOON, id="without"),
    pytest.param("2026-09-01t12:00:00z", NOON, id="small letters"),
    pytest.param("2026-09-01 14:00:00+02:00", NOON, id="a space, and an offset"),
    pytest.param("2026-09-01T12:00:00.1239999Z", NOON + timedelta(milliseconds=123), id="more digits are cut"),
    pytest.param("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC), id="the last time"),
    pytest.param("0001-01-01T00:00:00Z", LONG_AGO, id="the first time is long ago"),
    pytest.param("9999-12-31T23:59:59-01:00", None, id="after the end of time in UTC"),
    pytest.param("0001-01-01T00:00:00+01:00", None, id="before its beginning"),
    pytest.param("2026-09-01T12:00:00", None, id="no zone"),
    pytest.param("2026-09-01", None, id="a day"),
    pytest.param("soon", None, id="no time"),
    pytest.param("1" * 100_000, None, id="a long one"),
    pytest.param("", None, id="empty"),
    pytest.param(b"2026-09-01T12:00:00Z", None, id="bytes"),
    pytest.param(NOON, None, id="a time of AMQP"),
    pytest.param(1_788_000_000, None, id="a number"),
    pytest.param(None, None, id="none"),
]


@pytest.mark.parametrize(("value", "deadline"), DEADLINES)
def test_a_deadline_is_a_time_or_there_is_none(value: Any, deadline: datetime | None) -> None:
    read = wire.from_message(_received(headers={wire.DEADLINE: value}), "leveret.q")
    assert isinstance(read, Envelope)
    assert read.deadline == deadline


@given(st.datetimes(timezones=st.timezones()) | st.datetimes(timezones=st.just(UTC)))
def test_a_deadline_is_cut_to_the_millisecond_and_is_the_same_on_its_way(at: datetime) -> None:
    try:
        kept = wire.deadline_of(at)
    except OverflowError:
        return
    assert timedelta() <= at - kept < timedelta(milliseconds=1) or kept == LONG_AGO > at
    assert wire.time_of(wire.as_time(kept)) == kept == wire.deadline_of(kept)


def test_a_deadline_goes_with_every_copy_but_not_with_a_job_made_of_a_dead_letter() -> None:
    message = received(wire.to_message(replace(JOB, deadline=NOON)))
    assert message.headers[wire.DEADLINE] == "2026-09-01T12:00:00.000Z"
    copy = wire.copy_of(message, {wire.ATTEMPT: 2}, reply_to=None)
    assert copy.headers[wire.DEADLINE] == "2026-09-01T12:00:00.000Z"
    info = wire.dead_letter_header(DeadLetterInfo(JOB.id, "leveret.other", "GaveUp", None, 5))
    made = wire.from_message(_received(headers={**copy.headers, wire.DEAD_LETTER: info}), "leveret.q")
    assert isinstance(made, Envelope)
    assert made.deadline is None


@pytest.mark.parametrize("header", ["", "[" * 100_000, "{}", "null"])
def test_a_mark_of_a_dead_letter_that_is_none_is_left_out(header: str) -> None:
    read = wire.from_message(_received(headers={wire.DEAD_LETTER: header}), "leveret.q")
    assert isinstance(read, Envelope)
    assert read.dead_letter is None


def test_a_job_made_of_a_dead_letter_has_not_waited_since_the_other_was_submitted() -> None:
    info = wire.dead_letter_header(DeadLetterInfo(JOB.id, "leveret.other", "GaveUp", None, 5))
    read = wire.from_message(_received(timestamp=NOON, headers={wire.DEAD_LETTER: info}), "leveret.q")
    assert isinstance(read, Envelope)
    assert read.submitted_at is None


def test_a_redrive_keeps_the_job() -> None:
    job = replace(JOB, id=uuid4(), generation=2, attempt=1)
    assert wire.to_message(job, {"leveret-reason": "x"}).headers == {
        "leveret-attempt": 1,
        "leveret-generation": 2,
        "leveret-reason": "x",
    }


def test_an_address_that_the_broker_has_not_made_travels_nowhere() -> None:
    """A publish with it is answered with the closing of the channel."""
    literal = "amq.rabbitmq.reply-to"
    read = wire.from_message(_received(reply_to=literal), "leveret.q")
    unread = wire.from_message(_received(reply_to=literal, type=""), "leveret.q")
    assert (read.reply_to, unread.reply_to) == (None, None)
    assert wire.copy_of(_received(), {}, reply_to=literal).reply_to is None
    assert wire.to_message(replace(JOB, reply_to=literal)).reply_to is None


def _received(**fields: Any) -> Any:
    return Received(**fields)
