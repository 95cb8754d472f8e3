"""Deliveries from hand to ack, without a broker: slots, the order of settling, drains, and lost connections."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import aio_pika
import pytest
from aiormq.abc import DeliveredMessage
from pamqp import commands
from pamqp.header import ContentHeader

from leveret import Context, Handlers, Retry, RetryLater, events, wire
from leveret.events import JobEvent
from leveret.jobs import Envelope
from leveret.rabbitmq.publisher import NotConfirmed
from leveret.rabbitmq.replies import Replies
from leveret.sdk.handlers import Pool
from leveret_consumer import acks
from leveret_consumer.attempt import Attempts, Rules
from leveret_consumer.commands import Commands
from leveret_consumer.dead_letter_source import job_made_of
from leveret_consumer.deliveries import Deliveries
from leveret_consumer.jobqueue_inbox import JobQueueInbox
from leveret_consumer.lane import AioPika
from leveret_consumer.load import Load
from leveret_consumer.pools import Call, LoopPool, ThreadPool, Work
from leveret_consumer.reading import Reading
from leveret_consumer.remembered import MOST_FAILURES, Remembered
from leveret_consumer.reports import Reports
from leveret_consumer.settle import Settling, WouldTake

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


class Delivered(aio_pika.Message):
    """A message with a hand that notes what is done with it."""

    def __init__(self, job: Envelope, told: list[str], **headers: Any) -> None:
        made = wire.to_message(job, headers)
        super().__init__(
            made.body,
            headers=made.headers,
            message_id=made.message_id,
            type=made.type,
            timestamp=made.timestamp,
            reply_to=made.reply_to,
        )
        self.told, self.processed, self.number = told, False, job.id.int
        self.consumer_tag = "pod"
        self.is_lost = False

    async def ack(self) -> None:
        self.processed = True
        self.told.append(f"ack {self.number}")

    async def nack(self, requeue: bool) -> None:
        self.processed = True
        self.told.append(f"{'nack' if requeue else 'reject'} {self.number}")


@dataclass
class World:
    """One consumer process, and one connection of it."""

    slots: int = 1
    told: list[str] = field(default_factory=list)  # what the broker was told, in order
    copies: list[tuple[str, aio_pika.Message]] = field(default_factory=list)
    refusals: int = 0
    overruns: list[str] = field(default_factory=list)
    runs_of: dict[int, int] = field(default_factory=dict)
    events: list[JobEvent] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    raises: list[Exception] = field(default_factory=list)  # by what is ours, where something is drawn
    publishing_raises: str | None = None
    confirms: asyncio.Event = field(default_factory=asyncio.Event)  # of copies and events
    takes: WouldTake | None = None
    version: str = ""
    now: datetime = NOON

    def __post_init__(self) -> None:
        self.confirms.set()
        self.handlers = self._handlers()
        self.commands = Commands("q")
        self.load = Load(self.slots)
        self.remembered = Remembered(self.slots)
        self.reports = Reports()
        self.pools: Any = {Pool.LOOP: LoopPool(), Pool.THREAD: ThreadPool(self.slots)}
        self.attempts = Attempts(
            Rules("pod", timedelta(seconds=5), Retry(2, initial=4, jitter="none")),
            self.pools,
            self.load,
            self.reports,
            now=lambda: self.now,
            draw=self._draw,
            overrun=self.overruns.append,
            judge=JobQueueInbox("q", self.version, now=lambda: self.now).judge,
            commands=self.commands,
            stops_within=0.01,
        )
        self.connect()

    def connect(self) -> None:
        settling = Settling(
            "q",
            "pod",
            self.reports,
            self._publish,
            now=lambda: self.now,
            new_id=lambda: UUID(int=777),
            would_take=self.takes,
            replies=Replies(self._channel, lambda *_: None, places=lambda: 1_000),
        )
        judge = JobQueueInbox("q", self.version, now=lambda: self.now).judge
        reading = Reading("q", self.handlers, self.remembered, lambda: self.now, commands=self.commands, judge=judge)
        self.deliveries = Deliveries(reading, self.attempts, settling, self.remembered, self.load, pause_after_error=0)
        self.reporting = asyncio.create_task(self.reports.run(self._report))
        self.tasks: list[asyncio.Task[None]] = []

    async def _channel(self) -> Any:
        return SimpleNamespace(is_closed=False, publish=self._publish)

    async def disconnect(self) -> None:
        self.reporting.cancel()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(self.reporting, *self.tasks, return_exceptions=True)
        self.remembered.connection_lost()

    def deliver(
        self, number: int, type: str = "wait", body: bytes = b"{}", message_id: str = "", **fields: Any
    ) -> asyncio.Task[None]:
        message: Any = Delivered(Envelope(UUID(int=number), "q", type, body, **fields), self.told)
        message.message_id = message_id or message.message_id
        return self.take(message)

    def take(self, message: Any) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(self.deliveries.take(message)))
        return self.tasks[-1]

    def deliver_dead(self, number: int, tag: str = "pod") -> asyncio.Task[None]:
        """Deliver another queue's dead letter."""
        message: Any = Delivered(Envelope(UUID(int=number), "other", "wait", b"{}", attempt=5, generation=2), self.told)
        message.consumer_tag = tag
        self.tasks.append(asyncio.create_task(self.deliveries.take(message, "other.dead")))
        return self.tasks[-1]

    def _handlers(self) -> Handlers:
        handlers = Handlers()

        @handlers.job("wait")
        async def wait(ctx: Context, job: dict[str, object]) -> str:
            self.runs_of[ctx.job_id.int] = self.runs_of.get(ctx.job_id.int, 0) + 1
            await self.go.wait()
            return "done"

        @handlers.job("fail")
        async def fail(ctx: Context, job: dict[str, object]) -> None:
            raise ValueError("no")

        @handlers.job("picky", retry=Retry(3, retry_on=(OSError,)))
        async def picky(ctx: Context, job: dict[str, object]) -> None:
            if "later" in job:
                raise RetryLater(timedelta(hours=3), "closed")
            raise KeyError("never")

        @handlers.job("deaf", timeout=0.01, retry=Retry(1))
        async def deaf(ctx: Context, job: dict[str, object]) -> None:
            while not self.go.is_set():
                try:
                    await self.go.wait()
                except asyncio.CancelledError:
                    continue

        return handlers

    def _draw(self) -> float:
        if self.raises:
            raise self.raises.pop()
        return 0.5

    async def _publish(
        self, exchange: str, routing_key: str, message: aio_pika.Message, timeout: float, *, mandatory: bool = True
    ) -> None:
        assert routing_key == ("q" if exchange else "answers")
        if self.publishing_raises:
            raise ValueError(self.publishing_raises)
        if self.refusals:
            self.refusals -= 1
            raise NotConfirmed("refused")
        await self.confirms.wait()
        self.copies.append((exchange, message))
        self.told.append(f"copy to {exchange}")

    async def _report(self, batch: list[JobEvent], queue: str | None) -> None:
        events.encode(batch)
        await self.confirms.wait()
        self.events += batch
        self.told += [f"{event.state} {event.id.int}" for event in batch if event.state != "running"]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await asyncio.sleep(0)
    yield made
    made.go.set()
    made.remembered.stop()
    await made.disconnect()


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_success_is_reported_and_then_acknowledged(world: World) -> None:
    delivery = world.deliver(1, submitted_at=NOON - timedelta(seconds=3))
    async with asyncio.timeout(30):
        while not world.events:  # noqa: ASYNC110 - in the next batch
            await asyncio.sleep(0.001)
    world.go.set()
    await delivery
    assert world.told == ["succeeded 1", "ack 1"]
    assert [(str(one.state), one.wait_seconds) for one in world.events] == [("running", 3), ("succeeded", None)]
    assert (world.load.busy, world.load.held, world.load.finished.attempts) == (0, 0, 1)


async def test_a_start_that_was_not_sent_before_the_end_is_told_with_it(world: World) -> None:
    world.go.set()
    await world.deliver(1, submitted_at=NOON - timedelta(seconds=3))
    (event,) = world.events
    assert (str(event.state), event.started_at, event.wait_seconds) == ("succeeded", NOON, 3)


async def test_a_retry_is_copied_reported_and_then_acknowledged(world: World) -> None:
    await world.deliver(1, "fail")
    assert world.told == ["copy to leveret.delay.2", "retrying 1", "ack 1"]
    assert world.copies[0][1].headers["leveret-attempt"] == 2
    assert world.events[-1].retry_at == NOON + timedelta(seconds=4)


async def test_the_last_failure_is_a_dead_letter_reported_and_then_acknowledged(world: World) -> None:
    await world.deliver(1, "fail", attempt=2)
    assert world.told == ["copy to leveret.dead", "dead 1", "ack 1"]
    headers = world.copies[0][1].headers
    assert (headers["leveret-reason"], headers["leveret-attempt"]) == ("AttemptsExhausted", 2)
    assert json.loads(str(headers["leveret-error"]))["message"] == "no"
    assert (headers["leveret-started-at"], headers["leveret-died-at"]) == ("2026-09-01T12:00:00.000Z",) * 2


async def test_a_job_whose_deadline_has_passed_is_not_run(world: World) -> None:
    await world.deliver(1, "wait", deadline=NOON)
    await world.deliver(2, "nobody knows", deadline=NOON)
    assert world.told == ["copy to leveret.dead", "dead 1", "ack 1", "copy to leveret.dead", "dead 2", "ack 2"]
    assert {copy.headers["leveret-reason"] for _, copy in world.copies} == {"DeadlineExceeded"}
    assert [event.deadline for event in world.events] == [NOON, NOON]
    assert world.runs_of == {}


async def test_a_job_whose_deadline_passes_while_it_waits_for_its_slot_is_not_run(world: World) -> None:
    world.deliver(1)
    waiting = world.deliver(2, deadline=NOON + timedelta(seconds=1))
    await turns()
    world.now = NOON + timedelta(seconds=1)
    world.go.set()
    await waiting
    of_the_first = {"succeeded 1", "ack 1"}
    assert [told for told in world.told if told not in of_the_first] == ["copy to leveret.dead", "dead 2", "ack 2"]
    assert world.runs_of == {1: 1}
    assert (world.load.busy, world.load.held) == (0, 0)


@pytest.mark.parametrize(
    "job", [{"type": "wait", "deadline": NOON}, {"type": "fail", "deadline": NOON + timedelta(seconds=4)}],
    ids=["before it starts", "before its next attempt"],
)  # fmt: skip
async def test_a_reply_that_tells_of_the_deadline_stands_for_the_dead_letter(world: World, job: dict[str, Any]) -> None:
    await world.deliver(1, reply_to="answers", **job)
    assert world.told == ["dead 1", "copy to ", "ack 1"]
    (end,) = [event for event in world.events if event.state == "dead"]
    assert (end.reply_to, end.error and end.error.reason) == ("answers", "DeadlineExceeded")
    answer = world.copies[0][1]
    problem = json.loads(answer.body)
    assert (answer.headers["leveret-outcome"], problem["reason"]) == ("dead", "DeadlineExceeded")
    assert "No dead letter is kept" in problem["detail"]


async def test_a_long_wait_is_left_to_the_store_reported_and_then_acknowledged(world: World) -> None:
    await world.deliver(1, "picky", b'{"later": 1}')
    assert world.told == ["retrying 1", "ack 1"]
    event = world.events[-1]
    assert event.publish_at == event.retry_at == NOON + timedelta(hours=3)
    assert (event.attempt, event.max_attempts) == (1, 3)
    assert bytes(event.payload) == b'{"later": 1}', "the store may never have seen it"
    assert event.error is not None
    assert (event.error.type, event.error.message) == ("RetryLater", "closed")


def message(world: World, number: int = 1, type: str = "wait", body: bytes = b"{}", **headers: Any) -> Any:
    job = Envelope(UUID(int=number), "q", type, body, reply_to="answers", correlation_id="c", priority=3)
    return Delivered(job, world.told, **{name.replace("_", "-"): value for name, value in headers.items()})


async def test_a_message_for_later_is_left_to_the_store_with_all_that_its_sender_wrote(world: World) -> None:
    await world.take(message(world, leveret_delay="90s", mine=1, note="é", traceparent="t", x_mine="not kept"))
    assert (world.told, world.runs_of, world.load.busy) == (["retrying 1", "ack 1"], {}, 0)
    (event,) = world.events
    assert (event.attempt, event.delivery, event.started_at, event.error) == (0, 0, None, None)
    assert event.publish_at == event.retry_at == NOON + timedelta(seconds=90)
    assert (bytes(event.payload), event.reply_to, event.traceparent) == (b"{}", "answers", "t")
    assert event.headers == {"mine": 1, "note": "é"}
    assert event.of_no_attempt


@pytest.mark.parametrize(
    "headers", [{"leveret_delay": "0s"}, {"x_delay": -5}, {"leveret_run_at": "2026-09-01T12:00:00Z"}], ids=str
)
async def test_what_asks_for_now_runs(world: World, headers: dict[str, Any]) -> None:
    world.go.set()
    await world.take(message(world, **headers))
    assert world.runs_of == {1: 1}


@pytest.mark.parametrize(
    ("type", "body", "headers", "reason"),
    [
        pytest.param("wait", b"{}", {"leveret_delay": "soon"}, "InvalidDelay", id="unreadable"),
        pytest.param("nobody", b"{}", {"x_delay": "soon"}, "InvalidDelay", id="whoever would run it"),
        pytest.param("wait", b"{", {"leveret_delay": "90s"}, "NotJson", id="its body is none"),
        pytest.param("nobody", b"{}", {"leveret_delay": "90s"}, "UnknownType", id="nobody would run it"),
        pytest.param(
            "wait",
            b"{}",
            {"leveret_delay": "90s", wire.DEADLINE: "2026-09-01T12:01:30Z"},
            "DeadlineExceeded",
            id="its deadline is before",
        ),
    ],
)
async def test_what_can_not_run_later_is_told_at_once(
    world: World, type: str, body: bytes, headers: dict[str, Any], reason: str
) -> None:
    one = message(world, type=type, body=body, **headers)
    one.reply_to = None
    await world.take(one)
    assert world.told == ["copy to leveret.dead", "dead 1", "ack 1"]
    [(_, copy)] = world.copies
    assert copy.headers["leveret-reason"] == reason
    assert not {wire.DELAY, wire.RUN_AT, wire.PLUGINS_DELAY} & copy.headers.keys(), "a redrive has it run at once"


async def test_another_queues_dead_letter_does_not_wait(world: World) -> None:
    world.go.set()
    one = message(world, x_delay="soon")
    one.reply_to = None
    world.tasks.append(asyncio.create_task(world.deliveries.take(one, "other.dead")))
    await world.tasks[-1]
    assert list(world.runs_of.values()) == [1]


async def test_what_is_given_back_keeps_the_time_that_it_waits_for() -> None:
    world = World(version="1")
    await world.take(message(world, type="nobody", leveret_delay="90s"))
    [(exchange, copy)] = world.copies
    assert (exchange, wire.DELAY in copy.headers) == ("leveret.delay.0", False)
    assert copy.headers[wire.RUN_AT] == "2026-09-01T12:01:30.001Z"
    await world.disconnect()


async def test_a_long_wait_whose_event_was_not_confirmed_is_reported_again_and_not_run_again(world: World) -> None:
    world.reporting.cancel()
    await turns()
    await world.deliver(1, "picky", b'{"later": 1}')
    assert world.told == [], "not acknowledged: the store may not know of it"
    await world.disconnect()
    world.connect()
    await turns()
    await world.deliver(1, "picky", b'{"later": 1}')
    assert world.told == ["retrying 1", "ack 1"]
    assert world.load.finished.attempts == 1


async def test_a_long_wait_after_the_last_attempt_is_a_dead_letter(world: World) -> None:
    await world.deliver(1, "picky", b'{"later": 1}', attempt=3)
    assert world.told == ["copy to leveret.dead", "dead 1", "ack 1"]
    assert world.copies[0][1].headers["leveret-reason"] == "AttemptsExhausted"


async def test_an_exception_that_is_not_tried_again_is_a_dead_letter_at_once(world: World) -> None:
    await world.deliver(1, "picky")
    assert world.told == ["copy to leveret.dead", "dead 1", "ack 1"]
    headers = world.copies[0][1].headers
    assert (headers["leveret-reason"], headers["leveret-attempt"]) == ("GaveUp", 1)
    assert json.loads(str(headers["leveret-error"]))["type"] == "KeyError"


GIVEN_BACK = [
    pytest.param("nobody", b"{}", {}, "leveret.delay.0", id="a type that another version may know"),
    pytest.param("wait", b"[]", {}, "leveret.delay.0", id="a payload that another version may take"),
    pytest.param("wait", b"{", {}, "leveret.dead", id="no JSON"),
    pytest.param("nobody", b"{}", {wire.FAILED_COUNT: 20, wire.TAKEN_COUNT: 20}, "leveret.dead", id="too often"),
    pytest.param("nobody", b"{}", {wire.DELIVERED: 19, wire.FAILED_COUNT: 1}, "leveret.dead", id="the same in parts"),
    pytest.param("nobody", b"{}", {wire.GIVEN_BACK_SINCE: "2026-09-01T11:50:00Z"}, "leveret.dead", id="for too long"),
]


@pytest.mark.parametrize(("type", "body", "headers", "exchange"), GIVEN_BACK)
async def test_a_consumer_of_another_version_gives_back_what_it_may_not_judge(
    type: str, body: bytes, headers: dict[str, Any], exchange: str
) -> None:
    world = World(version="old")
    await turns()
    message: Any = Delivered(Envelope(UUID(int=1), "q", type, body), world.told, **headers)
    await world.deliveries.take(message)
    assert [name for name, _ in world.copies] == [exchange]
    assert world.told == [f"copy to {exchange}", f"{'dead' if exchange == 'leveret.dead' else 'retrying'} 1", "ack 1"]
    await world.disconnect()


DEAD_AT_ONCE = [("nobody", b"{}", "UnknownType"), ("wait", b"{", "NotJson"), ("wait", b"[]", "InvalidPayload")]


@pytest.mark.parametrize(("type", "body", "reason"), DEAD_AT_ONCE)
async def test_what_no_attempt_can_do_right_is_no_attempt(world: World, type: str, body: bytes, reason: str) -> None:
    await world.deliver(2, type, body)
    assert world.told == ["copy to leveret.dead", "dead 2", "ack 2"], "and no start"
    headers = world.copies[0][1].headers
    assert (headers["leveret-reason"], headers["leveret-died-at"]) == (reason, "2026-09-01T12:00:00.000Z")
    assert "leveret-started-at" not in headers
    assert (world.load.busy, world.load.finished.attempts) == (0, 0)


async def test_a_type_that_nobody_has_takes_no_slot(world: World) -> None:
    world.deliver(1)
    await turns()
    await world.deliver(2, "nobody")
    assert world.told == ["copy to leveret.dead", "dead 2", "ack 2"]
    assert world.load.busy == 1


async def test_what_was_given_back_is_not_taken_for_done_when_it_comes_again() -> None:
    """It comes as the same attempt, and with the count of its deliveries."""
    world = World(version="old")
    for _ in range(2):
        job = Envelope(UUID(int=1), "q", "wait", b"[]")
        await world.deliveries.take(Delivered(job, world.told, **{wire.DELIVERED: 1}))
    assert world.told == ["copy to leveret.delay.0", "retrying 1", "ack 1"] * 2
    await world.disconnect()


async def test_a_body_that_is_too_large_is_a_dead_letter_as_it_is_and_not_looked_into(world: World) -> None:
    body = b"{" * (256 * 1024 + 1)
    await world.deliver(1, "wait", body, attempt=2, generation=3)
    assert world.told == ["copy to leveret.dead", "dead 1", "ack 1"]
    copy = world.copies[0][1]
    assert (copy.body, copy.headers["leveret-reason"], copy.message_id) == (body, "TooLarge", str(UUID(int=1)))
    assert (copy.headers["leveret-attempt"], copy.headers["leveret-generation"]) == (2, 3)
    event = world.events[-1]
    assert (event.attempt, event.generation) == (2, 3)
    assert event.error is not None
    assert event.error.message == "the body is 262,145 bytes, and must be at most 262,144"


async def test_what_has_no_id_is_a_dead_letter_under_one_of_its_own(world: World) -> None:
    await world.deliver(1, "wait", b'{"mine": 1}', message_id="order 17")
    assert world.told == ["copy to leveret.dead", "dead 777", "ack 1"]
    copy = world.copies[0][1]
    assert (copy.body, copy.headers["leveret-reason"], copy.message_id) == (b'{"mine": 1}', "NoId", str(UUID(int=777)))
    error = world.events[-1].error
    assert error is not None
    assert error.message == "message_id is 'order 17', and must be a UUID"


async def test_there_is_a_slot_for_each_running_job_and_no_more(world: World) -> None:
    first, second = world.deliver(1), world.deliver(2)
    await turns()
    assert (world.runs_of, world.load.busy, world.load.held) == ({1: 1}, 1, 2)
    world.go.set()
    await asyncio.gather(first, second)
    assert world.runs_of == {1: 1, 2: 1}


async def test_a_drain_gives_back_what_waits_and_finishes_what_runs(world: World) -> None:
    first, _ = world.deliver(1), world.deliver(2)
    await turns()
    world.deliveries.close()
    assert await world.deliveries.give_back_waiting() == 1
    assert world.told == ["nack 2"]
    await world.deliver(3)
    assert world.told == ["nack 2", "nack 3"], "what was on its way when the consumer was cancelled"
    world.go.set()
    assert await world.deliveries.finished(within=5)
    await first
    assert world.told[2:] == ["succeeded 1", "ack 1"]


async def test_only_what_waits_of_one_consumer_tag_is_given_back(world: World) -> None:
    world.deliver(1)
    await turns()
    world.deliver(2)
    world.deliver_dead(3, tag="pod.1")
    await turns()
    assert await world.deliveries.give_back_waiting("pod.1") == 1
    assert world.told == ["nack 3"]
    assert await world.deliveries.give_back_waiting("pod") == 1
    assert world.told == ["nack 3", "nack 2"]


async def test_another_queues_dead_letter_is_a_first_attempt_of_a_job_of_this_queue(world: World) -> None:
    world.go.set()
    await world.deliver_dead(1)
    made = job_made_of(UUID(int=1), 2, "q")
    assert [(event.id, event.attempt, event.generation) for event in world.events] == [(made, 1, 1)]
    assert world.told == [f"succeeded {made.int}", "ack 1"]


async def test_what_does_not_finish_in_time_is_stopped_and_given_back(world: World) -> None:
    world.deliver(1)
    await turns()
    assert not await world.deliveries.finished(within=0)
    assert await world.deliveries.give_back_all() == 1
    await turns()
    assert (world.told, world.load.busy) == (["nack 1"], 0)


async def test_a_lost_connection_stops_a_coroutine_and_the_redelivery_runs_again(world: World) -> None:
    world.deliver(1)
    await turns()
    await world.disconnect()
    await turns()
    assert (world.told, world.load.busy, world.load.held) == ([], 0, 0)
    world.connect()
    world.go.set()
    await turns()
    await world.deliver(1)
    assert world.told == ["succeeded 1", "ack 1"]
    assert world.runs_of == {1: 2}


async def test_an_attempt_that_ended_as_the_connection_went_is_settled_from_memory(world: World) -> None:
    world.reporting.cancel()  # its event will not be confirmed
    await turns()
    world.go.set()
    await world.deliver(1)
    await world.disconnect()
    assert (world.told, world.runs_of) == ([], {1: 1})
    world.connect()
    await turns()
    await world.deliver(1)
    assert (world.told, world.runs_of) == (["succeeded 1", "ack 1"], {1: 1})


async def test_a_copy_that_was_confirmed_is_not_published_again(world: World) -> None:
    world.reporting.cancel()
    await turns()
    await world.deliver(1, "fail")
    await world.disconnect()
    world.connect()
    await turns()
    await world.deliver(1, "fail")
    assert world.told == ["copy to leveret.delay.2", "retrying 1", "ack 1"]


KINDS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("wait", {}, ["succeeded", "ack"]),
    ("wait", {"reply_to": "answers"}, ["succeeded", "copy to ", "ack"]),
    ("fail", {}, ["copy to leveret.delay.2", "retrying", "ack"]),
    ("fail", {"attempt": 2, "reply_to": "answers"}, ["copy to leveret.dead", "dead", "copy to ", "ack"]),
    ("picky", {}, ["copy to leveret.dead", "dead", "ack"]),
]


def deliver_each_kind(world: World, numbers: range, **headers: Any) -> None:
    for number in numbers:
        kind, fields, _ = KINDS[number % len(KINDS)]
        world.take(Delivered(Envelope(UUID(int=number), "q", kind, b"{}", **fields), world.told, **headers))


AGAIN = {wire.FAILED_COUNT: 1, wire.TAKEN_COUNT: 1}  # as the broker delivers what a lost connection held


@pytest.mark.parametrize("slots", [1, 10, 50])
@pytest.mark.parametrize("losses", [1, 2])
async def test_all_that_have_ended_as_the_connection_went_are_settled_from_memory(slots: int, losses: int) -> None:
    """As many were remembered as there are slots: of 310 that had ended on 10 slots, 300 ran again."""
    world = World(slots=slots)
    world.go.set()
    numbers = range(1, slots + 300 + 1)
    for loss in range(losses):
        world.confirms.clear()
        await turns()
        deliver_each_kind(world, numbers, **(AGAIN if loss else {}))
        await turns(20 * len(numbers))
        assert world.load.finished.attempts == len(numbers)
        await world.disconnect()
        world.connect()
    assert world.told == []
    world.confirms.set()
    await turns()
    # First come others, fewer than may be remembered: the prefetch is small at first, and somebody else has its share.
    await asyncio.gather(*(world.deliver(number) for number in range(1000, 1200)))
    assert world.load.finished.attempts == len(numbers) + 200
    world.told.clear()
    world.copies.clear()
    deliver_each_kind(world, numbers, **AGAIN)
    await asyncio.gather(*world.tasks)
    assert world.load.finished.attempts == len(numbers) + 200, "none ran again"
    counts = {word: sum(told == word or told.startswith(f"{word} ") for told in world.told) for word in ("ack", "dead")}
    assert counts == {"ack": len(numbers), "dead": sum(number % 5 in (3, 4) for number in numbers)}
    for number in range(5, 10):
        own = [told for told in world.told if told.endswith(f" {number}")]
        assert own == [f"{step} {number}" for step in KINDS[number % 5][2] if not step.startswith("copy")]
    copies = sorted(f"copy to {exchange}" for exchange, _ in world.copies)
    assert copies == sorted(step for number in numbers for step in KINDS[number % 5][2] if step.startswith("copy"))
    await world.disconnect()


async def test_what_was_confirmed_before_its_ack_was_lost_is_acknowledged_and_nothing_else() -> None:
    """An ack is written and never confirmed: of those that were under way as the connection went, each job ran again."""
    world = World(slots=10)
    world.go.set()
    await turns()
    deliver_each_kind(world, range(1, 311))
    await asyncio.gather(*world.tasks)
    await world.disconnect()
    world.connect()
    await turns()
    world.told.clear()
    deliver_each_kind(world, range(1, 311), **AGAIN)
    await asyncio.gather(*world.tasks)
    assert sorted(world.told) == sorted(f"ack {number}" for number in range(1, 311))
    assert world.load.finished.attempts == 310
    # One that the broker has not delivered before is another message, of somebody who waits for an answer perhaps.
    await world.deliver(1, reply_to="answers")
    assert world.told[310:] == ["succeeded 1", "copy to ", "ack 1"]
    await world.disconnect()


async def test_what_was_left_to_the_broker_is_not_taken_for_acknowledged() -> None:
    async def takes_nothing(_: aio_pika.Message) -> bool:
        return False

    world = World(takes=takes_nothing)
    for _ in range(2):
        taken: Any = Delivered(Envelope(UUID(int=1), "q", "fail", b"{}"), world.told, **AGAIN)
        taken.redelivered = True
        await world.take(taken)
    assert world.told == ["reject 1"] * 2
    await world.disconnect()


async def test_another_queues_dead_letter_that_the_broker_takes_no_copy_of_stays_where_it_is() -> None:
    """It was rejected, and a queue of dead letters has none of its own: it was in no queue any more."""

    async def takes_nothing(_: aio_pika.Message) -> bool:
        return False

    world = World(takes=takes_nothing)
    for kind in ("fail", "nobody"):
        for _ in range(MOST_FAILURES):
            taken: Any = Delivered(Envelope(UUID(int=1), "other", kind, b"{}", attempt=5), world.told)
            taken.redelivered = True
            await world.deliveries.take(taken, "other.dead")
    assert world.told == ["nack 1"] * 2 * MOST_FAILURES
    await world.disconnect()


class Channel:
    """Notes what is written on it; draining may take a while."""

    def __init__(self) -> None:
        self.acked: set[int] = set()
        self.nacked: list[int] = []
        self.open: set[int] = set()
        self.drains = asyncio.Event()

    def message(self, tag: int, job: Envelope) -> DeliveredMessage:
        self.open.add(tag)
        made = wire.to_message(job)
        deliver = commands.Basic.Deliver("pod", tag, False, "leveret.jobs", "q")
        properties = commands.Basic.Properties(message_id=made.message_id, message_type=made.type, headers={})
        header = ContentHeader(0, len(made.body), properties)
        return DeliveredMessage(delivery=deliver, header=header, body=made.body, channel=self)  # type: ignore[arg-type]

    async def basic_ack(self, tag: int, multiple: bool = False, wait: bool = True) -> None:
        done = {one for one in self.open if one <= tag} if multiple else {tag}
        assert done <= self.open, "the broker would close the channel"
        self.open -= done
        self.acked |= done
        if wait:
            await self.drains.wait()

    async def basic_nack(self, tag: int, requeue: bool = True) -> None:
        assert tag in self.open, "the broker would close the channel"
        self.open.remove(tag)
        self.nacked.append(tag)


async def test_what_is_acknowledged_and_what_is_given_back_meet_on_a_real_hand_of_acks() -> None:
    """The end of a drain, with 310 deliveries of 10 slots in every state, while the socket takes no more acks."""
    world = World(slots=10)
    channel: Any = Channel()
    hand = acks.ChannelAcks(channel, AioPika())
    for tag in range(1, 311):
        job = Envelope(UUID(int=tag), "q", "wait" if tag > 200 else "fail", b"{}")
        world.take(acks.Delivered(channel.message(tag, job), hand))
    async with asyncio.timeout(60):
        while sum(told.startswith("retrying") for told in world.told) < 200:  # noqa: ASYNC110 - reports go by a timer
            await asyncio.sleep(0)
    await turns(2000)
    assert channel.acked, "those that failed are written, and wait for the socket"
    assert (world.load.busy, len(world.runs_of)) == (10, 10)
    giving_back = asyncio.create_task(world.deliveries.give_back_all())
    await turns(2000)
    channel.drains.set()
    await giving_back
    await turns()
    assert sorted(channel.nacked) == list(range(201, 311))
    assert channel.acked == set(range(1, 201))
    assert channel.open == set()
    await world.disconnect()


async def test_two_copies_of_a_message_run_once_when_they_meet(world: World) -> None:
    first, second = world.deliver(1), world.deliver(1)
    await turns()
    world.go.set()
    await asyncio.gather(first, second)
    assert world.runs_of[1] == 1
    assert world.told == ["succeeded 1", "ack 1", "ack 1"]


async def test_of_two_copies_that_meet_the_one_whose_channel_is_closed_takes_the_run_with_it_and_the_other_goes_back(
    world: World,
) -> None:
    """The other would have waited, neither settled nor given back, until its connection ended."""
    first: Any = Delivered(Envelope(UUID(int=1), "q", "wait", b"{}"), world.told)
    lost = asyncio.create_task(world.deliveries.take(first))
    await turns()
    other = world.deliver(1)
    await turns()
    first.is_lost = True
    lost.cancel()  # as the client library does
    await asyncio.wait({lost, other})
    assert (world.told, world.load.busy, world.runs_of) == (["nack 1"], 0, {1: 1})


async def test_two_copies_that_meet_and_fail_are_one_retry(world: World) -> None:
    await asyncio.gather(world.deliver(1, "fail"), world.deliver(1, "fail"))
    assert world.told == ["copy to leveret.delay.2", "retrying 1", "ack 1", "ack 1"]


async def test_a_coroutine_that_swallows_its_cancellation_keeps_its_slot_and_is_told(world: World) -> None:
    await world.deliver(1, "deaf")
    assert world.told == ["copy to leveret.dead", "dead 1", "ack 1"]
    assert world.events[-1].error is not None
    assert "not done within its time-out of 10ms" in world.events[-1].error.message
    assert len(world.overruns) == 1
    assert world.load.busy == 1
    world.go.set()
    await turns()
    assert world.load.busy == 0


async def test_an_abandoned_session_starts_and_settles_nothing_any_more(world: World) -> None:
    world.deliver(1)
    await turns()
    world.deliver(2)
    await turns()
    world.go.set()  # 1 ends in the very turn in which its session does
    world.deliveries.abandon()
    world.remembered.connection_lost()
    await turns()
    assert (world.told, world.runs_of, world.load.busy, world.load.held) == ([], {1: 1}, 0, 0)
    await world.deliver(3)
    assert world.told == ["nack 3"]
    world.connect()
    await turns()
    await world.deliver(1)
    assert (world.told[1:], world.runs_of) == (["succeeded 1", "ack 1"], {1: 2})


async def test_an_abandoned_session_lets_a_thread_go_on_and_does_not_settle_it(world: World) -> None:
    may_end = threading.Event()

    @world.handlers.job("thread")
    def thread(ctx: Context, job: dict[str, object]) -> None:
        may_end.wait(10)

    world.deliver(1, "thread")
    await turns()
    world.deliveries.abandon()
    world.remembered.connection_lost()
    await turns()
    assert (world.told, world.load.busy) == ([], 1)
    redelivered = world.deliver(1, "thread")
    await redelivered
    world.connect()
    redelivered = world.deliver(1, "thread")
    may_end.set()
    await redelivered
    assert world.told == ["nack 1", "succeeded 1", "ack 1"]
    assert world.load.finished.attempts == 1


async def test_an_attempt_that_is_cancelled_before_its_first_step_frees_its_slot(world: World) -> None:
    taken = world.deliver(1)
    await asyncio.sleep(0)
    assert world.remembered.get((UUID(int=1), 1, 1)), "the attempt's task is there, and has not begun"
    world.remembered.connection_lost()
    await asyncio.gather(taken, return_exceptions=True)
    assert (world.runs_of, world.load.busy) == ({}, 0)
    world.go.set()
    await asyncio.wait_for(world.deliver(2), 30)
    assert world.runs_of == {2: 1}


class NoneLeft:
    """A pool that can't start anything, at first."""

    def __init__(self, problem: Exception) -> None:
        self._problems, self._then = [problem], LoopPool()

    async def start(self, call: Call) -> Work:
        if self._problems:
            raise self._problems.pop()
        return await self._then.start(call)

    def close(self) -> None:
        pass


NO_START = [OSError(24, "Too many open files"), TimeoutError("no answer"), RuntimeError("can't start new thread")]


@pytest.mark.parametrize("problem", NO_START, ids=lambda problem: type(problem).__name__)
async def test_a_handler_that_can_not_be_started_is_a_failed_attempt(world: World, problem: Exception) -> None:
    world.pools[Pool.LOOP] = NoneLeft(problem)
    world.go.set()
    await world.deliver(1, "picky")  # whose policy tries nothing again but an OSError
    assert world.told == ["copy to leveret.jobs", "retrying 1", "ack 1"]
    error = world.events[-1].error
    assert error is not None
    assert (error.reason, error.type) == ("Failed", type(problem).__name__)
    assert error.message.startswith(f"the handler could not be started ({type(problem).__name__}: ")
    assert (world.load.busy, world.load.held) == (0, 0)
    await world.deliver(1, attempt=2)
    assert world.told[3:] == ["succeeded 1", "ack 1"]


@pytest.mark.parametrize("problem", [KeyError("ours"), OSError("ours"), TimeoutError("ours")])
async def test_an_attempt_that_fails_in_the_consumer_itself_goes_back_and_runs_again(
    world: World, problem: Exception
) -> None:
    world.go.set()
    world.raises = [problem]
    await world.deliver(1)
    assert world.told == ["nack 1"]
    await world.deliver(1)
    assert (world.told[1:], world.runs_of, world.load.busy) == (["succeeded 1", "ack 1"], {1: 2}, 0)


async def test_what_fails_in_the_consumer_itself_again_and_again_is_a_dead_letter_with_the_error(world: World) -> None:
    world.go.set()
    world.raises = [KeyError("ours") for _ in range(MOST_FAILURES)]
    for _ in range(MOST_FAILURES):
        await world.deliver(1)
    assert world.told == ["nack 1"] * 4 + ["copy to leveret.dead", "dead 1", "ack 1"]
    assert world.copies[0][1].headers["leveret-reason"] == "DeliveryLimit"
    error = world.events[-1].error
    assert error is not None
    assert (error.type, error.traceback is not None) == ("KeyError", True)
    assert error.message.startswith("5 times a consumer failed on this message itself, not its handler; ")
    await world.deliver(1)  # redriven, say
    assert world.told[7:] == ["succeeded 1", "ack 1"]


async def test_other_attempts_and_other_jobs_are_counted_apart(world: World) -> None:
    world.raises = [KeyError("ours") for _ in range(MOST_FAILURES + 1)]
    for number in (1, 2, 3):
        await world.deliver(number, "fail", attempt=1)
        await world.deliver(number, "fail", attempt=2)
    assert world.told == ["nack 1", "nack 1", "nack 2", "nack 2", "nack 3", "nack 3"]


async def test_a_job_whose_end_can_not_be_reported_is_a_dead_letter_that_tells_of_itself(world: World) -> None:
    world.go.set()
    for _ in range(MOST_FAILURES):
        taken: Any = Delivered(Envelope(UUID(int=1), "q", "wait", b"{}"), world.told)
        taken.correlation_id = Fraction(1, 2)  # anything that is not written as JSON
        await world.deliveries.take(taken)
    assert world.told == ["nack 1"] * 4 + ["copy to leveret.dead", "ack 1"]
    assert world.runs_of == {1: 1}, "its outcome is remembered, and it does not run again"
    assert "can't be written as JSON" in str(world.copies[0][1].headers["leveret-error"])
    await world.deliver(2)
    assert world.told[6:] == ["succeeded 2", "ack 2"], "its neighbours are reported"


async def test_what_can_not_even_be_made_a_dead_letter_is_left_to_the_broker(world: World) -> None:
    world.publishing_raises = "no frame can hold this"
    for _ in range(MOST_FAILURES):
        await world.deliver(1, "nobody")
    assert world.told == ["nack 1"] * 4 + ["reject 1"]
    for _ in range(MOST_FAILURES):
        await world.deliver(2, message_id="order 17")
    assert world.told[5:] == ["nack 2"] * 4 + ["reject 2"]


async def test_a_next_attempt_that_is_there_is_not_followed_by_a_dead_letter(world: World) -> None:
    for _ in range(MOST_FAILURES):
        taken: Any = Delivered(Envelope(UUID(int=1), "q", "fail", b"{}"), world.told)
        taken.correlation_id = Fraction(1, 2)
        await world.deliveries.take(taken)
    assert world.told == ["copy to leveret.delay.2", *["nack 1"] * 4, "ack 1"]


async def test_an_end_by_the_deadline_that_can_not_be_reported_leaves_a_dead_letter(world: World) -> None:
    """There is no other, so what is not told must not count as known."""
    for _ in range(MOST_FAILURES):
        late = Envelope(UUID(int=1), "q", "fail", b"{}", reply_to="answers", deadline=NOON + timedelta(seconds=1))
        taken: Any = Delivered(late, world.told)
        taken.correlation_id = Fraction(1, 2)
        await world.deliveries.take(taken)
    assert world.told == ["nack 1"] * 4 + ["copy to leveret.dead", "ack 1"]


def delivered_before(world: World, number: int, times: int) -> Any:
    return Delivered(Envelope(UUID(int=number), "q", "wait", b"{}"), world.told, **{"x-delivery-count": times})


async def test_at_the_delivery_limit_a_job_is_not_started(world: World) -> None:
    world.go.set()
    await world.deliveries.take(delivered_before(world, 1, times=19))
    assert (world.told, world.runs_of) == (["succeeded 1", "ack 1"], {1: 1})
    await world.deliveries.take(delivered_before(world, 2, times=20))
    assert (world.told[2:], world.runs_of) == (["copy to leveret.dead", "dead 2", "ack 2"], {1: 1})
    assert world.copies[0][1].headers["leveret-reason"] == "DeliveryLimit"


async def test_the_delivery_limit_does_not_undo_an_attempt_that_has_ended_here(world: World) -> None:
    world.reporting.cancel()
    await turns()
    world.go.set()
    await world.deliver(1)
    await world.disconnect()
    world.connect()
    await turns()
    await world.deliveries.take(delivered_before(world, 1, times=20))
    assert (world.told, world.runs_of) == (["succeeded 1", "ack 1"], {1: 1})
