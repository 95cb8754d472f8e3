"""The order of settling, and replies: when, where to, and what becomes of one that nobody takes."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aio_pika
import pytest
from msgspec.structs import replace

from leveret import wire
from leveret.events import Error, JobEvent
from leveret.jobs import DeadLetterInfo, DeadReason, Envelope, State, merge_key
from leveret.rabbitmq.publisher import NotConfirmed
from leveret.rabbitmq.replies import Replies
from leveret.reply import reply
from leveret.topology import RESERVED
from leveret.wire import Unreadable
from leveret_consumer import job_events
from leveret_consumer.ends import (
    Cancelled,
    DeadLetter,
    Finished,
    GivenBack,
    Outcome,
    RetryAfter,
    RetryFromStore,
    Succeeded,
)
from leveret_consumer.outcome import unreadable
from leveret_consumer.remembered import Steps
from leveret_consumer.reports import Reports
from leveret_consumer.settle import Settling

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
JOB = Envelope(UUID(int=1), "leveret.q", "resize", b"{}", attempt=2, reply_to="answers", correlation_id="c 1")
FAILED = Error("AttemptsExhausted", "no luck.", "ValueError", "Traceback …")
DEAD = DeadLetter(DeadReason.ATTEMPTS_EXHAUSTED, FAILED)


class Message(aio_pika.Message):
    """A delivery of JOB, with a hand that notes the ack."""

    def __init__(self, told: list[str], **changes: Any) -> None:
        fields = {"message_id": str(JOB.id), "type": "resize", "reply_to": "answers", "correlation_id": "c 1"} | changes
        super().__init__(b"{}", headers={"leveret-reason": "left over", "mine": 1}, **fields)
        self.told = told

        self.redelivered = self.processed = False
        self.source: str | None = None

    async def ack(self) -> None:
        self.told.append("ack")

    async def nack(self, requeue: bool) -> None:
        self.told.append("nack" if requeue else "reject")


class Broker:
    """Notes what is published, and refuses, or never answers, replies when told to."""

    is_closed = False

    def __init__(self) -> None:
        self.told: list[str] = []
        self.published: list[tuple[str, str, aio_pika.Message]] = []
        self.refuses, self.hangs = 0, False
        self.takes: bool | None = True  # None: not known
        self.asked = 0

    async def publish(
        self, exchange: str, routing_key: str, message: aio_pika.Message, timeout: float, *, mandatory: bool = True
    ) -> None:
        assert mandatory is (exchange != ""), "a client that is gone is no error"
        if exchange == "" and self.hangs:
            await asyncio.Event().wait()
        self.told.append(f"to {exchange or routing_key}")
        if exchange == "" and self.refuses:
            self.refuses -= 1
            raise NotConfirmed("full")
        self.published.append((exchange, routing_key, message))

    async def takes_it(self, message: aio_pika.Message) -> bool:
        self.asked += 1
        if self.takes is None:
            raise NotConfirmed("gone")
        return self.takes

    @property
    def replies(self) -> list[aio_pika.Message]:
        return [message for exchange, _, message in self.published if exchange == ""]


class Told(Reports):
    """Every event is confirmed at once."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self.told = told

    async def confirmed(self, event: JobEvent, queue: str | None = None) -> None:
        self.told.append(f"event {event.state}")


@pytest.fixture
def broker() -> Broker:
    return Broker()


def replies(broker: Broker) -> Replies:
    async def opens() -> Broker:
        return broker

    return Replies(
        opens, lambda *_: None, places=lambda: 1, patience=lambda seconds: asyncio.timeout(seconds / 100), pauses=(0, 0)
    )


@pytest.fixture
async def settling(broker: Broker) -> Settling:
    return Settling(
        "leveret.q",
        "pod",
        Told(broker.told),
        broker.publish,
        now=lambda: NOON,
        new_id=lambda: UUID(int=777),
        would_take=broker.takes_it,
        replies=replies(broker),
    )


ORDERS = [
    pytest.param(Succeeded(b"17"), ["event succeeded", "to answers", "ack"], id="succeeded"),
    pytest.param(DEAD, ["to leveret.dead", "event dead", "to answers", "ack"], id="dead"),
    pytest.param(Cancelled(), ["event cancelled", "to answers", "ack"], id="cancelled"),
    pytest.param(RetryAfter(2, FAILED), ["to leveret.delay.2", "event retrying", "ack"], id="not final: a retry"),
    pytest.param(
        RetryFromStore(NOON - NOON, FAILED), ["event retrying", "ack"], id="not final: a retry from the store"
    ),
    pytest.param(
        GivenBack(3, NOON, FAILED), ["to leveret.delay.3", "event retrying", "ack"], id="not final: given back"
    ),
]


@pytest.mark.parametrize(("outcome", "order"), ORDERS)
async def test_the_copy_then_the_event_then_the_reply_then_the_ack(
    settling: Settling, broker: Broker, outcome: Outcome, order: list[str]
) -> None:
    message: Any = Message(broker.told)
    await settling.job(message, JOB, Finished(outcome), Steps())
    assert broker.told == order


async def test_what_is_given_back_is_the_same_attempt_and_says_since_when(settling: Settling, broker: Broker) -> None:
    since = NOON - timedelta(seconds=9.8765)
    message: Any = Message(broker.told)
    message.headers |= {wire.GIVEN_BACK_SINCE: "2999-01-01T00:00:00Z", wire.DELIVERED: 1, wire.ATTEMPT: 2}
    job = replace(JOB, generation=3, delivery=4)
    await settling.job(message, job, Finished(GivenBack(1, since, FAILED)), Steps())
    [(exchange, key, copy)] = broker.published
    assert (exchange, key, copy.reply_to, copy.correlation_id) == ("leveret.delay.1", "leveret.q", "answers", "c 1")
    assert copy.headers == {
        "mine": 1,
        "leveret-attempt": 2,
        "leveret-generation": 3,
        "leveret-given-back-since": "2026-09-01T11:59:50.123Z",
        "leveret-delivered": 4,
    }


async def test_a_copy_for_another_reason_does_not_say_that_it_was_given_back(
    settling: Settling, broker: Broker
) -> None:
    for outcome in (RetryAfter(2, FAILED), DEAD):
        message: Any = Message(broker.told)
        message.headers |= {wire.GIVEN_BACK_SINCE: "2026-09-01T11:59:50.123Z", wire.DELIVERED: 1}
        await settling.job(message, replace(JOB, reply_to=None), Finished(outcome), Steps())
    assert not any({wire.GIVEN_BACK_SINCE, wire.DELIVERED} & copy.headers.keys() for _, _, copy in broker.published)


@pytest.mark.parametrize("attempt", [1, 2])
def test_it_is_told_as_the_attempt_before_that_waits_again(attempt: int) -> None:
    job = replace(JOB, attempt=attempt, generation=2, delivery=4)
    event = job_events.finished(job, "pod", NOON, Finished(GivenBack(3, NOON, FAILED)))
    assert (event.state, event.attempt, event.generation, event.delivery) == (State.RETRYING, attempt - 1, 2, 0)
    assert (event.given_back, event.error, event.retry_at) == (True, FAILED, NOON + timedelta(seconds=8))
    assert (event.publish_at, event.run_seconds, event.started_at) == (None, None, None)
    assert event.key < merge_key(State.RUNNING, 2, attempt)


async def test_a_result_is_the_body_of_its_reply(settling: Settling, broker: Broker) -> None:
    message: Any = Message(broker.told)
    await settling.job(message, JOB, Finished(Succeeded(b'{"a":1}')), Steps())
    (answer,) = broker.replies
    assert (answer.body, answer.content_type, answer.correlation_id) == (b'{"a":1}', "application/json", "c 1")
    assert answer.headers == {"leveret-outcome": "succeeded"}
    assert (answer.delivery_mode, answer.expiration) == (aio_pika.DeliveryMode.PERSISTENT, None)


async def test_a_dead_letter_is_answered_with_a_problem_document(settling: Settling, broker: Broker) -> None:
    message: Any = Message(broker.told, correlation_id=None)
    await settling.job(message, JOB, Finished(DEAD), Steps())
    (answer,) = broker.replies
    assert (answer.content_type, answer.headers) == ("application/problem+json", {"leveret-outcome": "dead"})
    assert answer.correlation_id == str(JOB.id), "the message's id where it has no correlation id"
    assert json.loads(answer.body) == {
        "type": "https://leveret.dev/problems/job-dead",
        "title": "The job is a dead letter",
        "detail": "no luck. The job is kept in leveret.q.dead, and runs again if it is redriven.",
        "reason": "AttemptsExhausted",
        "job": str(JOB.id),
        "queue": "leveret.q",
        "error": {"reason": "AttemptsExhausted", "type": "ValueError", "message": "no luck."},
    }


@pytest.mark.parametrize(("reply_to", "told"), [("answers", ["to answers"]), (None, [])])
async def test_what_can_not_be_run_is_answered_too(
    settling: Settling, broker: Broker, reply_to: str | None, told: list[str]
) -> None:
    message: Any = Message(broker.told, message_id="x", correlation_id=None)
    what = Unreadable(DeadReason.NO_ID, "no id", reply_to=reply_to)
    await settling.unreadable(message, what, unreadable(what.reason, what.detail))
    assert broker.told == ["to leveret.dead", "event dead", *told, "ack"]
    for answer in broker.replies:
        assert (json.loads(answer.body)["reason"], answer.correlation_id) == ("NoId", "x")


async def test_a_job_without_an_address_is_not_answered(settling: Settling, broker: Broker) -> None:
    message: Any = Message(broker.told, reply_to=None)
    await settling.job(message, Envelope(JOB.id, JOB.queue, "resize", b"{}"), Finished(Succeeded(b"1")), Steps())
    assert broker.told == ["event succeeded", "ack"]


@pytest.mark.parametrize(
    "name",
    ["leveret.events", "leveret.events.dead", "leveret.delay.3", "leveret.unroutable", "a.b.dead", *sorted(RESERVED)],
)
async def test_nothing_is_written_to_a_queue_of_our_own(settling: Settling, broker: Broker, name: str) -> None:
    message: Any = Message(broker.told)
    job = Envelope(JOB.id, JOB.queue, "resize", b"{}", reply_to=name)
    await settling.job(message, job, Finished(Succeeded(b"1")), Steps())
    assert broker.told == ["event succeeded", "ack"]


@pytest.mark.parametrize(("refusals", "replies"), [(0, 1), (2, 1), (3, 0), (99, 0)])
async def test_a_reply_that_is_refused_is_tried_three_times_and_holds_up_no_job(
    settling: Settling, broker: Broker, refusals: int, replies: int
) -> None:
    broker.refuses = refusals
    message: Any = Message(broker.told)
    await settling.job(message, JOB, Finished(Succeeded(b"1")), Steps())
    assert broker.told == ["event succeeded", *["to answers"] * min(refusals + 1, 3), "ack"]
    assert len(broker.replies) == replies


async def test_a_reply_that_is_never_confirmed_holds_up_no_job(settling: Settling, broker: Broker) -> None:
    broker.hangs = True
    message: Any = Message(broker.told)
    await asyncio.wait_for(settling.job(message, JOB, Finished(Succeeded(b"1")), Steps()), 60)
    assert broker.told == ["event succeeded", "ack"]


async def test_two_deliveries_of_one_run_are_answered_once(settling: Settling, broker: Broker) -> None:
    steps = Steps()
    for _ in range(2):
        message: Any = Message(broker.told)
        await settling.job(message, JOB, Finished(DEAD), steps)
    assert broker.told == ["to leveret.dead", "event dead", "to answers", "ack", "ack"]


async def test_a_reply_that_was_not_confirmed_is_sent_at_the_next_delivery(settling: Settling, broker: Broker) -> None:
    steps = Steps()
    broker.refuses = 3
    for _ in range(2):
        message: Any = Message(broker.told)
        await settling.job(message, JOB, Finished(Succeeded(b"1")), steps)
    assert len(broker.replies) == 1


async def test_a_reply_is_tried_while_the_task_can_be_cancelled(broker: Broker) -> None:
    broker.hangs = True
    sending = asyncio.create_task(replies(broker).send("answers", reply(State.SUCCEEDED, "c", b"1"), job="1"))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


COPIES = [
    pytest.param(RetryAfter(None, FAILED), "leveret.jobs", 3, id="a retry"),
    pytest.param(DEAD, "leveret.dead", 2, id="a dead letter"),
]


@pytest.mark.parametrize(("outcome", "exchange", "attempt"), COPIES)
async def test_a_job_that_was_a_dead_letter_travels_on_under_its_own_id(
    settling: Settling, broker: Broker, outcome: Outcome, exchange: str, attempt: int
) -> None:
    info = DeadLetterInfo(UUID(int=9), "leveret.other", "Rejected", "no", 1, generation=3)
    job = Envelope(UUID(int=2), "leveret.q", "resize", b"{}", attempt=2, dead_letter=info)
    message: Any = Message(broker.told, message_id=str(info.id))
    await settling.job(message, job, Finished(outcome), Steps())
    ((sent_to, key, copy),) = broker.published
    assert (sent_to, key, copy.message_id, copy.reply_to) == (exchange, "leveret.q", str(UUID(int=2)), None)
    assert (copy.headers["leveret-attempt"], copy.headers["leveret-generation"], copy.headers["mine"]) == (
        attempt,
        1,
        1,
    )
    assert copy.headers.get("leveret-reason") == (outcome.reason if isinstance(outcome, DeadLetter) else None)
    told: Any = copy
    again = wire.from_message(told, "leveret.q")
    assert isinstance(again, Envelope)
    assert again.dead_letter == info


REDELIVERED = [
    pytest.param(False, False, 0, "ack", id="the first delivery is not asked about, which is most of them"),
    pytest.param(True, True, 1, "ack", id="taken"),
    pytest.param(True, None, 1, "ack", id="not known"),
    pytest.param(True, False, 1, "reject", id="not taken"),
]


@pytest.mark.parametrize(("redelivered", "takes", "asked", "last"), REDELIVERED)
async def test_a_copy_that_the_broker_does_not_take_is_published_once_at_most(
    settling: Settling, broker: Broker, redelivered: bool, takes: bool | None, asked: int, last: str
) -> None:
    broker.takes = takes
    message: Any = Message(broker.told)
    message.redelivered = redelivered
    await settling.job(message, JOB, Finished(RetryAfter(2, FAILED)), Steps())
    assert (broker.asked, broker.told[-1]) == (asked, last)
    assert (len(broker.told) == 1) == (last == "reject"), (
        "nothing else is told of it: the broker's dead letter tells all"
    )


async def test_what_can_be_neither_run_nor_copied_is_left_to_the_broker(settling: Settling, broker: Broker) -> None:
    broker.takes = False
    message: Any = Message(broker.told)
    message.redelivered = True
    what = Unreadable(DeadReason.NO_ID, "no id")
    await settling.unreadable(message, what, unreadable(what.reason, what.detail))
    assert broker.told == ["reject"]


async def test_a_success_has_no_copy_to_ask_about(settling: Settling, broker: Broker) -> None:
    message: Any = Message(broker.told)
    message.redelivered = True
    await settling.job(message, JOB, Finished(Succeeded(b"1")), Steps())
    assert broker.asked == 0
