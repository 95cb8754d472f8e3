"""Another queue's dead letter, as a job of this queue."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import aio_pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret import wire
from leveret.jobs import DeadLetterInfo, DeadReason, Envelope
from leveret.wire import Unreadable
from leveret_consumer.dead_letter_source import from_source, job_made_of

DEAD = UUID("6f1c1a52-6d3e-4c53-9f0a-0f4bb3a7d1ce")
ERROR = '{"reason":"AttemptsExhausted","message":"no luck","type":"ValueError","traceback":"…"}'


def letter(body: bytes = b'{"n":1}', **changes: Any) -> Any:
    headers = {
        "leveret-attempt": 5,
        "leveret-generation": 2,
        "leveret-reason": "AttemptsExhausted",
        "leveret-error": ERROR,
        "traceparent": "00-1",
        "leveret-deadline": "2026-09-01T12:00:00.000Z",
        "x-delivery-count": 3,
        **changes.pop("headers", {}),
    }
    fields = {
        "message_id": str(DEAD),
        "type": "resize",
        "correlation_id": "c",
        "reply_to": "r",
        "priority": 3,
        "timestamp": datetime(2026, 9, 1, tzinfo=UTC),
        **changes,
    }
    return aio_pika.Message(body, headers=headers, **fields)


def read(message: Any) -> Envelope:
    job = from_source(message, "leveret.q.dead", "leveret.repair")
    assert isinstance(job, Envelope)
    return job


def test_it_is_the_first_attempt_of_a_job_of_its_own() -> None:
    assert read(letter()) == Envelope(
        id=job_made_of(DEAD, 2, "leveret.repair"),
        queue="leveret.repair",
        type="resize",
        body=b'{"n":1}',
        attempt=1,
        generation=1,
        delivery=3,
        priority=3,
        correlation_id="c",
        reply_to=None,
        traceparent="00-1",
        dead_letter=DeadLetterInfo(DEAD, "leveret.q", "AttemptsExhausted", "no luck", 5, generation=2),
    ), "all but the reply's address, which was answered, and the times, which were the other job's"


def test_that_the_other_queues_consumers_gave_it_back_is_not_its_own() -> None:
    """The broker leaves their marks on a dead letter that it makes itself."""
    marks = {"leveret-given-back-since": "2026-09-01T12:00:00Z", "leveret-delivered": 9}
    job = read(letter(headers=marks))
    assert (job.given_back_since, job.delivery) == (None, 3)


@pytest.mark.parametrize("error", ["", "[" * 100_000, "{}", "null"])
def test_an_error_that_is_none_is_not_known(error: str) -> None:
    info = read(letter(headers={"leveret-error": error})).dead_letter
    assert info is not None
    assert info.error is None


def test_it_has_the_times_of_its_death() -> None:
    at = {"leveret-started-at": "2026-09-01T12:00:00.250Z", "leveret-died-at": "2026-09-01T14:00:01+02:00"}
    info = read(letter(headers=at)).dead_letter
    assert info is not None
    assert info.started_at == datetime(2026, 9, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    assert info.died_at == datetime(2026, 9, 1, 12, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize("value", ["soon", "", 7, None, "2026-09-01T12:00:00", "0001-01-01T00:00:00+23:00", b"x"])
def test_a_time_that_is_none_is_not_known(value: Any) -> None:
    info = read(letter(headers={"leveret-started-at": value, "leveret-died-at": value})).dead_letter
    assert info is not None
    assert (info.started_at, info.died_at) == (None, None)


def test_its_id_follows_from_job_generation_and_queue() -> None:
    same = read(letter()).id
    assert read(letter(headers={"leveret-attempt": 1, "x-delivery-count": 0})).id == same, (
        "delivered again: the same job"
    )
    others = {
        read(letter(headers={"leveret-generation": 3})).id,
        read(letter(message_id=str(UUID(int=1)))).id,
        job_made_of(DEAD, 2, "leveret.other"),
        DEAD,
    }
    assert len(others | {same}) == 5


COUNTS = [
    pytest.param(
        {"x-delivery-count": 21, "x-acquired-count": 21}, 0, id="the first delivery: the counts of where it died"
    ),
    pytest.param({"x-delivery-count": 22, "x-acquired-count": 1}, 1, id="delivered once before"),
    pytest.param({"x-delivery-count": 24, "x-acquired-count": 5}, 5, id="delivered five times before, or given back"),
]


@pytest.mark.parametrize(("headers", "delivery"), COUNTS)
def test_what_the_broker_dropped_is_counted_from_here(headers: dict[str, int], delivery: int) -> None:
    """The numbers are those of RabbitMQ 4.3."""
    assert read(letter(headers={"x-last-death-reason": "delivery_limit", **headers})).delivery == delivery


REASONS = [
    pytest.param({}, "AttemptsExhausted", "no luck", id="as its consumer wrote"),
    pytest.param(
        {"leveret-reason": None, "leveret-error": None, "x-last-death-reason": "delivery_limit"},
        "DeliveryLimit",
        None,
        id="dropped by the broker",
    ),
    pytest.param(
        {"leveret-reason": None, "leveret-error": None, "x-last-death-reason": "rejected"},
        "rejected",
        None,
        id="rejected",
    ),
    pytest.param({"leveret-reason": 5, "leveret-error": 5}, None, None, id="of another kind"),
    pytest.param({"leveret-error": "{"}, "AttemptsExhausted", None, id="an error that is no JSON"),
    pytest.param({"leveret-error": '{"x":' + "[" * 20_000}, "AttemptsExhausted", None, id="an error that is too deep"),
    pytest.param({"leveret-error": '{"message":5}'}, "AttemptsExhausted", None, id="an error that is none of ours"),
]


@pytest.mark.parametrize(("headers", "reason", "error"), REASONS)
def test_the_handler_is_told_why_it_died(headers: dict[str, Any], reason: str | None, error: str | None) -> None:
    info = read(letter(headers=headers)).dead_letter
    assert info is not None
    assert (info.reason, info.error) == (reason, error)


UNREADABLE = [
    pytest.param(letter(message_id="x"), DeadReason.NO_ID, None, id="no id"),
    pytest.param(letter(type=""), DeadReason.UNKNOWN_TYPE, job_made_of(DEAD, 2, "leveret.repair"), id="no type"),
    pytest.param(letter(b" " * 262_145), DeadReason.TOO_LARGE, job_made_of(DEAD, 2, "leveret.repair"), id="too large"),
]


@pytest.mark.parametrize(("message", "reason", "job"), UNREADABLE)
def test_what_can_not_be_run_does_not_end_under_the_other_jobs_id(
    message: Any, reason: DeadReason, job: UUID | None
) -> None:
    what = from_source(message, "leveret.q.dead", "leveret.repair")
    assert isinstance(what, Unreadable)
    assert (what.reason, what.id, what.attempt, what.generation, what.reply_to) == (reason, job, 1, 1, None)


infos = st.builds(
    DeadLetterInfo,
    id=st.uuids(),
    queue=st.text(),
    reason=st.none() | st.text(),
    error=st.none() | st.text(),
    attempts=st.integers(1, 9),
)


@given(infos)
def test_a_retry_carries_it_in_a_header(info: DeadLetterInfo) -> None:
    copy: Any = letter(headers={"leveret-dead-letter": wire.dead_letter_header(info)})
    job = wire.from_message(copy, "leveret.repair")
    assert isinstance(job, Envelope)
    assert job.dead_letter == info


@pytest.mark.parametrize("value", [5, "", "{", "[]", json.dumps({"id": "x"}), '{"x":' + "[" * 20_000, b"\xff"])
def test_a_header_that_says_nothing_is_nothing(value: Any) -> None:
    job = wire.from_message(letter(headers={"leveret-dead-letter": value}), "leveret.repair")
    assert isinstance(job, Envelope)
    assert job.dead_letter is None
