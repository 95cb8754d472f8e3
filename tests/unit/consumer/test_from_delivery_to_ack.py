"""What a consumer says to its broker from a delivery to its ack, held where no part of the consumer can be seen."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from aio_pika import DeliveryMode
from moved_clock import turns
from pretended_broker import Connection
from pretended_consumer import NOON, Consumer
from virtual_time import run

from leveret import Context, Handlers, Reject, Retry, RetryLater

SOON = 0.02  # s: longer than events are gathered, shorter than a reply is waited for
ONE = "00000000-0000-0000-0000-000000000001"

handlers = Handlers()
raises: list[BaseException] = []


@handlers.job("returns")
async def returns(ctx: Context, job: dict[str, object]) -> str:
    return "done"


@handlers.job("raises")
async def raises_it(ctx: Context, job: dict[str, object]) -> None:
    raise raises[-1]


@handlers.job("picky", retry=Retry(3, initial=4, jitter="none", retry_on=(OSError,)))
async def picky(ctx: Context, job: dict[str, object]) -> None:
    raise raises[-1]


@handlers.job("large")
async def large(ctx: Context, job: dict[str, object]) -> str:
    return "x" * 300_000


@handlers.job("odd")
async def odd(ctx: Context, job: dict[str, object]) -> object:
    return object()


@handlers.job("sleeps")
async def sleeps(ctx: Context, job: dict[str, object]) -> None:
    await asyncio.sleep(3600)


@handlers.job("sleeps 2", timeout=2)
async def sleeps_shorter(ctx: Context, job: dict[str, object]) -> None:
    await asyncio.sleep(3600)


@handlers.job("deaf", timeout=1)
async def deaf(ctx: Context, job: dict[str, object]) -> None:
    for _ in range(2):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(8)


@handlers.job("short")
async def short(ctx: Context, job: dict[str, object]) -> None:
    await asyncio.sleep(0.05)


@handlers.job("submits")
async def submits(ctx: Context, job: dict[str, object]) -> str:
    ctx.submit("returns", {"of": str(ctx.job_id)})
    return "done"


@handlers.job("fails after it")
async def fails_after_it(ctx: Context, job: dict[str, object]) -> None:
    ctx.submit("returns", 1)
    raise ValueError("no")


def story(work: Callable[[Consumer], Coroutine[Any, Any, None]], **consumer: Any) -> None:
    """Tell it in virtual time, in one session."""

    async def told() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        one = Consumer(handlers, now=lambda: NOON + timedelta(seconds=loop.time() - start), **consumer)
        await one.ready()
        try:
            await work(one)
        finally:
            await one.close()

    run(told())


def published(one: Consumer, exchange: str) -> list[Any]:
    """The messages; of the exchange of events those on jobs."""
    of_jobs = ("q", "job.q", "answers")
    return [frame[3] for frame in one.connection.frames if frame[:2] == ("publish", exchange) and frame[2] in of_jobs]


def told_of(one: Consumer) -> list[dict[str, Any]]:
    return [event for message in published(one, "leveret.events") for event in json.loads(message.body)]


def lines(one: Consumer) -> list[str]:
    """What was written on jobs, without their starts and their progress."""
    found = []
    for what, *frame in one.connection.frames:
        if what != "publish":
            found.append(f"{what} {frame[0]}")
        elif frame[1] == "job.q":
            found += [event["state"] for event in json.loads(frame[2].body) if event["state"] != "running"]
        elif frame[1] in ("q", "answers"):
            found.append(frame[0] or "reply")
    return found


ORDERS = [
    pytest.param("returns", {}, ["succeeded", "ack 1"], id="a success"),
    pytest.param("returns", {"reply_to": "answers"}, ["succeeded", "reply", "ack 1"], id="a success with a reply"),
    pytest.param("submits", {}, ["leveret.jobs", "queued", "succeeded", "ack 1"], id="a success with a follow-up"),
    pytest.param(
        "submits",
        {"reply_to": "answers"},
        ["leveret.jobs", "queued", "succeeded", "reply", "ack 1"],
        id="a success with a follow-up and a reply",
    ),
    pytest.param("fails after it", {}, ["leveret.delay.2", "retrying", "ack 1"], id="a retry, without its follow-up"),
    pytest.param("raises", {"reply_to": "answers"}, ["leveret.delay.2", "retrying", "ack 1"], id="a retry"),
    pytest.param(
        "raises", {"reply_to": "answers", "attempt": 2}, ["leveret.dead", "dead", "reply", "ack 1"], id="a dead letter"
    ),
    pytest.param("nobody", {}, ["leveret.dead", "dead", "ack 1"], id="what nobody runs"),
    pytest.param(
        "returns", {"deadline": NOON, "reply_to": "answers"}, ["dead", "reply", "ack 1"], id="too late, and answered"
    ),
]


@pytest.mark.parametrize(("type", "fields", "order"), ORDERS)
def test_nothing_is_written_before_what_comes_first_is_confirmed(
    type: str, fields: dict[str, Any], order: list[str]
) -> None:
    raises.append(ValueError("no"))
    seen: list[list[str]] = []

    async def work(one: Consumer) -> None:
        allowed = asyncio.Semaphore(0)

        async def confirms(exchange: str, message: Any) -> None:
            if exchange != "leveret.events" or b'"running"' not in message.body or b'"succeeded"' in message.body:
                await allowed.acquire()

        one.connection.confirms = confirms
        one.deliver(1, type, **fields)
        for _ in order:
            await asyncio.sleep(SOON)
            seen.append(lines(one))
            allowed.release()

    story(work)
    assert seen == [order[:count] for count in range(1, len(order) + 1)]


def test_of_a_success_the_event_is_written_and_the_ack() -> None:
    async def work(one: Consumer) -> None:
        await one.deliver(1, "returns", submitted_at=NOON, correlation_id="c")
        (event,) = [event for event in told_of(one) if event["state"] == "succeeded"]
        at = datetime.fromisoformat(event.pop("at"))
        assert NOON <= datetime.fromisoformat(event.pop("started_at")) <= at
        assert event == {
            "id": ONE, "type": "returns", "state": "succeeded", "consumer": "pod", "max_attempts": 2,
            "submitted_at": "2026-09-01T12:00:00Z", "run_seconds": event["run_seconds"], "result": "done",
            "correlation_id": "c", "wait_seconds": event["wait_seconds"],
        }  # fmt: skip
        message = published(one, "leveret.events")[-1]
        assert (message.content_type, message.delivery_mode) == ("application/json", DeliveryMode.PERSISTENT)

    story(work)


def test_a_follow_up_is_a_job_of_its_own() -> None:
    async def work(one: Consumer) -> None:
        fields = {"reply_to": "answers", "correlation_id": "c", "traceparent": "00-a-b-01", "priority": 3}
        await one.deliver(1, "submits", deadline=NOON + timedelta(hours=1), generation=2, **fields)
        (message,) = published(one, "leveret.jobs")
        child = Context(job_id=UUID(ONE), generation=2, queue="q").submit("returns", {"of": ONE})
        assert (message.message_id, message.type, message.body) == (
            str(child),
            "returns",
            b'{"of":"%s"}' % ONE.encode(),
        )
        assert message.headers == {"leveret-attempt": 1, "leveret-generation": 1, "traceparent": "00-a-b-01"}
        assert (message.reply_to, message.correlation_id, message.priority) == (None, None, 0)
        assert (message.delivery_mode, message.timestamp) == (DeliveryMode.PERSISTENT, datetime.fromisoformat(at(one)))
        (event,) = [event for event in told_of(one) if event["state"] == "queued"]
        assert event == {
            "id": str(child), "type": "returns", "state": "queued", "consumer": "pod", "attempt": 0,
            "at": at(one), "submitted_at": at(one),
        }  # fmt: skip

    def at(one: Consumer) -> str:
        return str(next(event["at"] for event in told_of(one) if event["state"] == "queued"))

    story(work)


COPIES = [
    pytest.param(1, "leveret.delay.2", "retrying", {"leveret-attempt": 2}, id="a retry"),
    pytest.param(
        2, "leveret.dead", "dead", {"leveret-attempt": 2, "leveret-reason": "AttemptsExhausted"}, id="a dead letter"
    ),
]


@pytest.mark.parametrize(("attempt", "exchange", "state", "headers"), COPIES)
def test_of_a_failure_a_copy_of_the_message_is_written_and_what_it_died_of(
    attempt: int, exchange: str, state: str, headers: dict[str, Any]
) -> None:
    raises.append(ValueError("no"))

    async def work(one: Consumer) -> None:
        await one.deliver(1, "raises", attempt=attempt, reply_to="answers", correlation_id="c", priority=3)
        (copy,) = published(one, exchange)
        assert (copy.body, copy.message_id, copy.type) == (b'{"n":1}', ONE, "raises")
        assert (copy.reply_to, copy.correlation_id, copy.priority) == ("answers", "c", 3)
        assert (copy.delivery_mode, copy.content_type) == (DeliveryMode.PERSISTENT, "application/json")
        why = {
            name: copy.headers.pop(name, None) for name in ("leveret-started-at", "leveret-died-at", "leveret-error")
        }
        assert copy.headers == {"mine": 1, "leveret-generation": 1, **headers}
        assert all(why.values()) == (state == "dead")
        event = told_of(one)[-1]
        error = event["error"]
        assert (event["state"], error["type"], error["message"]) == (state, "ValueError", "no")
        assert "in raises_it" in error["traceback"]
        assert "leveret_consumer" not in error["traceback"]
        if state == "dead":
            assert json.loads(why["leveret-error"]) == error
            (reply,) = published(one, "")
            assert (reply.correlation_id, reply.headers) == ("c", {"leveret-outcome": "dead"})
            assert json.loads(reply.body)["reason"] == "AttemptsExhausted"

    story(work)


# what a handler does → what is written, the reason that is told, and in how many seconds it runs again
LEADS_TO = [
    pytest.param("raises", ValueError("no"), 1, "leveret.delay.2", "Failed", 4, id="an exception"),
    pytest.param("raises", ValueError("no"), 2, "leveret.dead", "AttemptsExhausted", None, id="the last attempt's"),
    pytest.param("raises", SystemExit(1), 1, "leveret.delay.2", "Failed", 4, id="an exit"),
    pytest.param("raises", asyncio.CancelledError(), 1, "leveret.delay.2", "Failed", 4, id="a cancellation"),
    pytest.param("raises", TimeoutError(), 1, "leveret.delay.2", "Failed", 4, id="a time-out of its own"),
    pytest.param("raises", Reject("no"), 1, "leveret.dead", "Rejected", None, id="Reject"),
    pytest.param("raises", RetryLater(7), 1, None, "Failed", 7, id="RetryLater: never early, nor late"),
    pytest.param("raises", RetryLater(7), 2, "leveret.dead", "AttemptsExhausted", None, id="the last RetryLater"),
    pytest.param("raises", RetryLater(1), 1, "leveret.delay.0", "Failed", 1, id="RetryLater: soon"),
    pytest.param("picky", ConnectionResetError(), 2, "leveret.delay.3", "Failed", 8, id="one of retry_on"),
    pytest.param("picky", ValueError(), 1, "leveret.dead", "GaveUp", None, id="none of retry_on"),
    pytest.param("picky", RetryLater(3), 1, None, "Failed", 3, id="RetryLater, whatever retry_on"),
    pytest.param("large", None, 1, "leveret.delay.2", "Failed", 4, id="a result that is too large"),
    pytest.param("odd", None, 1, "leveret.delay.2", "Failed", 4, id="a result that is no JSON"),
    pytest.param("sleeps", None, 1, "leveret.delay.2", "TimedOut", 4, id="the time-out"),
    pytest.param("sleeps", None, 2, "leveret.dead", "AttemptsExhausted", None, id="the last attempt's time-out"),
    pytest.param("nobody", None, 1, "leveret.dead", "UnknownType", None, id="an unknown type"),
]


@pytest.mark.parametrize(("type", "problem", "attempt", "copy_to", "reason", "again_in"), LEADS_TO)
def test_what_a_handler_does_leads_to(
    type: str, problem: BaseException, attempt: int, copy_to: str | None, reason: str, again_in: float | None
) -> None:
    raises.append(problem)

    async def work(one: Consumer) -> None:
        await one.deliver(1, type, attempt=attempt)
        state = "dead" if again_in is None else "retrying"
        assert lines(one) == [*([copy_to] if copy_to else []), state, "ack 1"]
        event = told_of(one)[-1]
        assert event["error"]["reason"] == reason
        if again_in is not None:
            waits = datetime.fromisoformat(event["retry_at"]) - datetime.fromisoformat(event["at"])
            assert waits == timedelta(seconds=again_in)
            assert ("publish_at" in event) == (copy_to is None)
        assert (one.load.busy, one.load.held) == (0, 0)

    story(work)


def test_each_attempt_is_stopped_at_its_own_time() -> None:
    raises.append(ValueError())

    async def work(one: Consumer) -> None:
        start = asyncio.get_running_loop().time()
        ends: dict[int, float] = {}
        deadline = NOON + timedelta(seconds=1.5)
        jobs = {1: {"type": "sleeps"}, 2: {"type": "sleeps 2"}, 3: {"type": "sleeps", "deadline": deadline}}
        for number, fields in jobs.items():
            delivery = one.deliver(number, **fields)
            delivery.add_done_callback(
                lambda _, number=number: ends.setdefault(number, asyncio.get_running_loop().time() - start)
            )
        await one.until(lambda: len(ends) == 3)
        assert ends == {number: pytest.approx(end, abs=0.1) for number, end in ((3, 1.5), (2, 2), (1, 5))}
        assert [event["error"]["reason"] for event in told_of(one) if event["state"] != "running"] == [
            "DeadlineExceeded", "TimedOut", "TimedOut",
        ]  # fmt: skip

    story(work, slots=3, timeout=5)


def test_who_does_not_stop_is_settled_and_told_of_and_keeps_the_slot() -> None:
    async def work(one: Consumer) -> None:
        start = asyncio.get_running_loop().time()
        await one.deliver(1, "deaf")
        assert asyncio.get_running_loop().time() - start == pytest.approx(6, abs=0.1), "1 s, and 5 s to stop"
        assert lines(one) == ["leveret.delay.2", "retrying", "ack 1"]
        assert (len(one.overruns), one.load.busy) == (1, 1)
        waiting = one.deliver(2, "returns")
        await asyncio.sleep(2)
        assert not waiting.done()
        await waiting
        assert lines(one)[3:] == ["succeeded", "ack 2"]

    story(work)


def test_what_is_confirmed_together_is_acknowledged_together_and_what_runs_is_not() -> None:
    async def work(one: Consumer) -> None:
        await asyncio.wait([one.deliver(number, "returns") for number in (1, 2, 3)])
        one.deliver(4, "sleeps")
        await asyncio.wait([one.deliver(number, "returns") for number in (5, 6)])
        acks = [frame[1:] for frame in one.connection.frames if frame[0] == "ack"]
        assert acks == [(3, True), (5, False), (6, False)]

    story(work, slots=6)


def test_a_stop_gives_back_what_waits_and_at_last_what_runs() -> None:
    async def work(one: Consumer) -> None:
        one.deliver(1, "sleeps")
        one.deliver(2, "sleeps")
        await turns()
        one.stop.signalled("SIGTERM")
        await one.running
        assert lines(one) == ["nack 2", "nack 1"]
        assert [frame[2] for frame in one.connection.frames if frame[0] == "nack"] == [True, True]

    story(work, timeout=60)


def prefetches(connection: Connection) -> list[int]:
    return [int(line.removeprefix("prefetch ")) for line in connection.told if line.startswith("prefetch ")]


async def feed(one: Consumer, seconds: float) -> None:
    """Deliver short jobs to the newest subscription, one after the other."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        tag = max(one.connection.consumers())
        await one.deliver(one.connection.tags + 1, "short", tag=tag)


def test_the_prefetch_follows_the_run_times_within_the_first_second() -> None:
    async def work(one: Consumer) -> None:
        await feed(one, 1)
        first, *others = prefetches(one.connection)
        assert first == 1
        assert others[-1] >= 2, "0.1 s of work is two jobs more, and it may be wrong by less than a factor of two"
        await feed(one, 40)
        assert prefetches(one.connection)[-1] in (3, 4)
        assert len(prefetches(one.connection)) <= 3, "each change is by a factor of two"

    story(work)


def test_the_next_connection_begins_with_what_was_known_on_the_last() -> None:
    async def work(one: Consumer) -> None:
        await feed(one, 1)
        known = prefetches(one.connection)[-1]
        one.running.cancel()
        await asyncio.wait({one.running})
        after = Connection(queues={"q"})
        one.running = one.connect(after)
        await one.until(lambda: "pod" in after.consumers())
        assert prefetches(after) == [known] != [1]

    story(work)
