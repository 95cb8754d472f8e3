"""The deliveries that a connection holds: each is read, gets a slot, runs, and is settled.

What stands first is what costs least: a message that can't be run is set aside before it takes a slot.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from leveret import topology, wire
from leveret.jobs import DeadReason, Envelope
from leveret.rabbitmq.connection import BrokerErrors, BrokerGone
from leveret.sdk.handlers import BadPayload, Handler, Pool
from leveret.wire import Unreadable
from leveret_consumer import sources, stumbles
from leveret_consumer.acks import Delivered
from leveret_consumer.attempts import Attempts
from leveret_consumer.failures import cut_message
from leveret_consumer.job_events import Ended
from leveret_consumer.load import Load
from leveret_consumer.outcomes import DeadLetter, Outcome, Unkept, delivered_too_often, unreadable
from leveret_consumer.reports import Unreportable
from leveret_consumer.runs import Run, Runs, key_of
from leveret_consumer.settling import Settling

log = structlog.get_logger(__name__)

PAUSE_AFTER_ERROR = 1.0  # s, so that an error of our own does not send a message around and around
_LOST = (BrokerGone, *BrokerErrors)


class _Lost(Exception):
    """The broker has the delivery again. Only what it raises itself means that: an OSError has many causes."""


@dataclass(slots=True, eq=False)
class Held:
    """A delivery that is not acknowledged."""

    message: Delivered
    task: asyncio.Task[object]
    source: str | None = None
    job: Envelope | None = None  # once it is read
    started: bool = False  # it runs, or waits for nothing but its settlement


Judge = Callable[[Envelope, DeadLetter], Outcome]  # what becomes of a message that is a dead letter as seen from here


class Deliveries:
    """Those of one connection. `runs` and `load` belong to the process and outlive it."""

    def __init__(
        self,
        queue: str,
        handlers: Mapping[str, Handler],
        attempts: Attempts,
        settling: Settling,
        runs: Runs,
        load: Load,
        *,
        delivery_limit: int = topology.BROKER_DELIVERY_LIMIT,
        pause_after_error: float = PAUSE_AFTER_ERROR,
        judge: Judge = lambda _, dead: dead,
    ) -> None:
        self._queue, self._handlers, self._attempts, self._settling = queue, handlers, attempts, settling
        self._runs, self._load, self._delivery_limit = runs, load, delivery_limit
        self._pause_after_error, self._judge = pause_after_error, judge
        self._held: set[Held] = set()
        self._closed = False

    async def take(self, message: Delivered, source: str | None = None) -> None:
        """Handle one delivery to its end; the caller's task is the delivery's.

        `source` is the dead letters' queue that it comes from, None if it's from the own queue.
        """
        task = asyncio.current_task()
        assert task is not None
        if self._closed:
            return await _give_back(message)
        held = Held(message, task, source)
        self._held.add(held)
        self._load.hold()
        try:
            await self._handle(held)
        except _Lost as problem:
            _note_lost(message, problem)
        except asyncio.CancelledError:
            if message.is_lost:
                self._forget(held)
            elif not task.cancelling():  # its run was, with another delivery
                return await _give_back(message)
            raise
        except Exception as problem:  # noqa: BLE001 - logged there
            await self._stumbled(held, problem)
        finally:
            self._held.discard(held)
            self._load.let_go()

    def close(self) -> None:
        """Give back whatever is still delivered."""
        self._closed = True

    def abandon(self) -> None:
        """Start and settle nothing any more: the session is over, though its connection may live.

        Whoever gets the deliveries next must not meet the outcome of an attempt that is about to be stopped. Nothing is
        given back here: the broker takes back what was delivered on a channel when that closes.
        """
        self._closed = True
        for held in self._held:
            held.task.cancel()

    async def give_back_waiting(self, tag: str | None = None) -> int:
        """Give back what has no slot yet, only of one consumer tag if that is given; return how many."""
        return await self._return(
            {held for held in self._held if not held.started and tag in (None, held.message.consumer_tag)}
        )

    async def give_back_all(self) -> int:
        """Stop what runs, then give back everything; return how many."""
        some = set(self._held)
        self._runs.stop()  # before the broker has them again, so that nobody starts a twin of what still runs
        return await self._return(some)

    async def finished(self, within: float) -> bool:
        """Wait for what is held; tell whether it's all done."""
        if self._held:
            await asyncio.wait({held.task for held in self._held}, timeout=within)
        return not self._held

    async def _return(self, some: set[Held]) -> int:
        for held in some:
            held.task.cancel()
        if some:
            await asyncio.wait({held.task for held in some})
        for held in some:
            await _give_back(held.message)
        return len(some)

    def _forget(self, held: Held) -> None:
        """The broker closed the channel, perhaps alone, and has the delivery again: stop its run, as with a lost connection.

        A thread can't be stopped, and what has ended is remembered: both wait for their message to come back.
        """
        run = self._runs.get(key_of(held.job)) if held.job else None
        if held.job and run and run.can_be_stopped and not run.task.done():
            run.task.cancel()
            self._runs.forget(key_of(held.job))

    async def _handle(self, held: Held) -> None:
        message = held.message
        job = (
            sources.from_source(message, held.source, self._queue)
            if held.source
            else wire.from_message(message, self._queue)
        )
        if isinstance(job, Unreadable):
            held.started = True
            await _settle(self._settling.unreadable(message, job, unreadable(job.reason, job.detail)))
            return
        held.job = job
        if job.delivery and self._runs.was_acknowledged(key_of(job)):  # and the ack was lost with its connection
            held.started = True
            await _settle(message.ack())
            return
        waits = None if held.source else self._attempts.not_before(message.headers)
        if isinstance(waits, datetime):
            held.job = job = replace(job, not_before=waits)
        ready = self._ready(job, waits if isinstance(waits, DeadLetter) else None)
        if not isinstance(ready, tuple):
            held.started = True
            await _settle(self._settling.job(message, job, Ended(ready), None))
            return
        run = await self._run(held, job, *ready)
        try:
            ended = await asyncio.shield(run.task)
        except Exception:
            self._runs.forget(key_of(job))  # else every delivery to come would get the same failed task
            raise
        async with run.settling:
            await _settle(self._settling.job(message, job, ended, run))
        self._runs.settled(key_of(job), run)

    async def _stumbled(self, held: Held, problem: Exception) -> None:
        """An error of our own, or of what we stand on: give the delivery back, but not for ever."""
        message = held.message
        times = self._runs.stumbles.note(message)
        log.error("a delivery failed in the consumer itself", job=message.message_id, times=times, exc_info=problem)
        if times < stumbles.MOST:
            await asyncio.sleep(self._pause_after_error)
            await _give_back(message)
            return
        held.started = True
        try:
            await self._give_up(held, stumbles.stumbled_too_often(problem, times))
            self._runs.stumbles.forget(message)
        except _Lost as lost:
            _note_lost(message, lost)

    async def _give_up(self, held: Held, dead: DeadLetter) -> None:
        message, job = held.message, held.job
        run = self._runs.get(key_of(job)) if job else None
        try:
            if run and run.is_told:  # a dead letter of a job that has its end, or its next attempt, would be a lie
                await _settle(message.ack())
            elif job:
                await _settle(self._settling.job(message, job, Ended(dead), None))
            else:
                await _leave_to_broker(held)
        except _Lost:
            raise
        except Unreportable:  # the dead letter is there, and the store reads those, too
            await _settle(message.ack())
        except Exception:
            log.exception("a message can't be made a dead letter; the broker does", job=message.message_id)
            await _leave_to_broker(held)
        if job:
            self._runs.forget(key_of(job))

    def _ready(self, job: Envelope, unfit: DeadLetter | None) -> tuple[Handler, object] | Outcome:
        """What is to run; or the outcome of what isn't. The limit first: reading the payload may be what ends the process."""
        readable = self._too_often(job) or self._too_late(job) or unfit or self._read(job)
        if isinstance(readable, DeadLetter):
            return self._judge(job, readable)
        # What waits is read all the same: what can't be run is told at once, and the report is JSON.
        return (
            self._attempts.deferred(job, job.not_before) if isinstance(readable, tuple) and job.not_before else readable
        )

    def _too_often(self, job: Envelope) -> DeadLetter | None:
        """A run that is here already is not started again, however often its message comes: it's settled as it ends."""
        return None if self._runs.get(key_of(job)) else delivered_too_often(job.delivery, self._delivery_limit)

    def _too_late(self, job: Envelope) -> DeadLetter | Unkept | None:
        """Nor is a run that is here already judged by the clock; one that waits for a slot is once more, as it starts."""
        return None if self._runs.get(key_of(job)) else self._attempts.too_late(job)

    def _read(self, job: Envelope) -> tuple[Handler, object] | DeadLetter:
        handler = self._handlers.get(job.type)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            return unreadable(DeadReason.UNKNOWN_TYPE, f"no handler here is for {job.type!r}; there are: {known}")
        try:
            return handler, handler.read(job.body)
        except BadPayload as problem:
            return unreadable(problem.reason, cut_message(str(problem)))

    async def _run(self, held: Held, job: Envelope, handler: Handler, payload: object) -> Run:
        """The run of this attempt: one that there is already, or a new one once a slot is free."""
        key = key_of(job)
        run = self._runs.get(key)
        if run is None:
            slot = await self._load.take()
            run = self._runs.get(key)
            if run:  # of another copy of the message, which came to its slot first
                slot.attempt_ended()
            else:
                attempt = self._attempts.run(job, handler, payload, slot)
                run = self._runs.start(key, attempt, can_be_stopped=handler.pool is not Pool.THREAD)
                run.task.add_done_callback(slot.attempt_ended)
        held.started = True
        return run


async def _settle(step: Awaitable[None]) -> None:
    try:
        await step
    except _LOST as problem:
        raise _Lost(str(problem)) from problem


def _note_lost(message: Delivered, problem: _Lost) -> None:
    # Not acknowledged: the broker delivers it again, here or elsewhere.
    log.info("a delivery is lost with its connection", job=message.message_id, because=str(problem))


async def _leave_to_broker(held: Held) -> None:
    """Have the broker itself keep it as a dead letter; what is in a queue of dead letters already can only go back."""
    if held.source:
        await _give_back(held.message)
    elif not held.message.processed:
        await _settle(held.message.nack(requeue=False))


async def _give_back(message: Delivered) -> None:
    """nack, not reject: the broker counts a reject as a failed delivery."""
    try:
        if not message.processed:
            await message.nack(requeue=True)
    except _LOST:
        log.debug("not given back: the channel is gone, and the broker takes back what it delivered on it")
