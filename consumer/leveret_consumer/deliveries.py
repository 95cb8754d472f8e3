"""The deliveries that a connection holds: each is read, gets a slot, runs, and is settled.

What can't be run is set aside before it takes a slot.
"""

import asyncio
import contextlib
from collections.abc import Awaitable

import structlog

from leveret.jobs import Envelope
from leveret.sdk.handlers import Handler, Pool
from leveret.wire import Unreadable
from leveret_consumer.acks import LOST, Delivered, give_back, leave_to_broker
from leveret_consumer.attempt import Attempts
from leveret_consumer.ends import DeadLetter, Finished, GivenBack
from leveret_consumer.load import Load
from leveret_consumer.outcome import unreadable
from leveret_consumer.reading import Reading
from leveret_consumer.remembered import MOST_FAILURES, Attempt, Remembered, Steps, failed_too_often, key_of
from leveret_consumer.reports import Unreportable
from leveret_consumer.settle import Settling

log = structlog.get_logger(__name__)

PAUSE_AFTER_ERROR = 1.0  # s, so that an error of our own does not send a message around and around


class _Lost(Exception):
    """The broker has the delivery again. Only what it raises itself means that: an OSError has many causes."""


class Held:
    """A delivery that is not acknowledged."""

    __slots__ = ("job", "message", "started", "task")

    def __init__(
        self, message: Delivered, job: Envelope | None = None, task: "asyncio.Task[object] | None" = None
    ) -> None:
        self.message, self.job, self.task = message, job, task  # the job is None until it is read
        self.started = False  # it runs, or waits for nothing but its settlement

    def withdraw(self) -> None:
        """Do nothing with it any more."""
        if self.task:
            self.task.cancel()


class Deliveries:
    """Those of one connection. What is remembered and the load belong to the process and outlive it."""

    def __init__(
        self,
        reading: Reading,
        attempts: Attempts,
        settling: Settling,
        remembered: Remembered,
        load: Load,
        *,
        pause_after_error: float = PAUSE_AFTER_ERROR,
    ) -> None:
        self._reading, self._attempts, self._settling = reading, attempts, settling
        self._remembered, self._load, self._pause_after_error = remembered, load, pause_after_error
        self._held: set[Held] = set()
        self._all_settled = asyncio.Event()
        self._closed = False

    async def take(self, message: Delivered, source: str | None = None) -> None:
        """Handle one delivery to its end; the caller's task is the delivery's.

        `source` is the dead letters' queue that it comes from, None if it's from the own queue.
        """
        message.source = source
        await (give_back(message) if self._closed else self.carry_on(message))

    async def carry_on(self, message: Delivered) -> None:
        """Handle a delivery that is held already, however far it has come."""
        task = asyncio.current_task()
        assert task is not None
        held = Held(message, task=task)
        self._hold(held)
        try:
            await self._handle(held)
        except _Lost as problem:
            self.lost(held, problem)
        except asyncio.CancelledError:
            if message.is_lost:
                self.forget(held)
            elif not task.cancelling():  # its attempt was, with another delivery
                return await give_back(message)
            raise
        except Exception as problem:  # noqa: BLE001 - logged there
            await self._failed(held, problem)
        finally:
            self.let_go(held)

    def hold(self, held: Held) -> bool:
        """Count a delivery among those that are held; tell whether it may be begun."""
        if not self._closed:
            self._hold(held)
        return not self._closed

    def let_go(self, held: Held) -> None:
        if held in self._held:
            self._held.discard(held)
            self._load.let_go()
            if not self._held:
                self._all_settled.set()

    def lost(self, held: Held, because: BaseException) -> None:
        """Note that it's not acknowledged: the broker delivers it again, here or elsewhere."""
        log.info("a delivery is lost with its connection", job=held.message.message_id, because=str(because))

    def close(self) -> None:
        """Give back whatever is still delivered."""
        self._closed = True

    def abandon(self) -> None:
        """Start and settle nothing any more: the session is over, though its connection may live.

        Whoever gets the deliveries next must not meet the outcome of an attempt that is about to be stopped. Nothing is
        given back here: the broker takes back what was delivered on a channel when that closes.
        """
        self._closed = True
        for held in [*self._held]:
            held.withdraw()
            if held.task is None:
                self.let_go(held)

    async def give_back_waiting(self, tag: str | None = None) -> int:
        """Give back what has no slot yet, only of one consumer tag if that is given; return how many."""
        return await self._return(
            {held for held in self._held if not held.started and tag in (None, held.message.consumer_tag)}
        )

    async def give_back_all(self) -> int:
        """Stop what runs, then give back everything; return how many."""
        some = set(self._held)
        self._remembered.stop()  # before the broker has them again, so that nobody starts a twin of what still runs
        return await self._return(some)

    async def finished(self, within: float) -> bool:
        """Wait for what is held; tell whether it's all done."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self._held:
                    self._all_settled.clear()
                    await self._all_settled.wait()
        return not self._held

    async def _return(self, some: set[Held]) -> int:
        for held in some:
            held.withdraw()
        if tasks := [held.task for held in some if held.task]:
            await asyncio.wait(tasks)
        for held in some:
            self.let_go(held)
            await give_back(held.message)
        return len(some)

    def _hold(self, held: Held) -> None:
        self._held.add(held)
        self._load.hold()

    def forget(self, held: Held) -> None:
        """The broker closed the channel, perhaps alone, and has the delivery again: stop its attempt, as with a lost connection.

        A thread can't be stopped, and what has ended is remembered: both wait for their message to come back.
        """
        attempt = self._remembered.get(key_of(held.job)) if held.job else None
        if held.job and attempt and attempt.can_be_stopped and not attempt.task.done():
            attempt.task.cancel()
            self._remembered.forget(key_of(held.job))

    async def _handle(self, held: Held) -> None:
        message = held.message
        job = self._reading.envelope(message)
        if isinstance(job, Unreadable):
            held.started = True
            await _settle(self._settling.unreadable(message, job, unreadable(job.reason, job.detail)))
            return
        held.job = job
        if job.delivery and self._remembered.was_acknowledged(key_of(job)):  # and the ack was lost with its connection
            held.started = True
            await _settle(message.ack())
            return
        # Another queue's dead letter has waited already.
        held.job, found = self._reading.job(job, {} if message.source else message.headers)
        if not isinstance(found, Handler):
            held.started = True
            await _settle(self._settling.job(message, held.job, Finished(found), Steps()))
            return
        attempt = await self._attempt(held, held.job, found)
        try:
            finished = await asyncio.shield(attempt.task)
        except Exception:
            self._remembered.forget(key_of(job))  # else every delivery to come would get the same failed task
            raise
        async with attempt.lock:
            await _settle(self._settling.job(message, job, finished, attempt))
        if isinstance(finished.outcome, GivenBack):  # it comes again as the same attempt, which was not started
            self._remembered.forget(key_of(job))
        else:
            self._remembered.settled(key_of(job), attempt)

    async def _failed(self, held: Held, problem: Exception) -> None:
        """An error of our own, or of what we stand on: give the delivery back, but not for ever."""
        message = held.message
        times = self._remembered.internal_failures.note(message)
        log.error("a delivery failed in the consumer itself", job=message.message_id, times=times, exc_info=problem)
        if times < MOST_FAILURES:
            await asyncio.sleep(self._pause_after_error)
            await give_back(message)
            return
        held.started = True
        try:
            await self._give_up(held, failed_too_often(problem, times))
            self._remembered.internal_failures.forget(message)
        except _Lost as lost:
            self.lost(held, lost)

    async def _give_up(self, held: Held, dead: DeadLetter) -> None:
        message, job = held.message, held.job
        attempt = self._remembered.get(key_of(job)) if job else None
        try:
            # A dead letter of a job that has its end, or its next attempt, would be a lie.
            if attempt and attempt.is_told:
                await _settle(message.ack())
            elif job:
                await _settle(self._settling.job(message, job, Finished(dead), Steps()))
            else:
                await _settle(leave_to_broker(message))
        except _Lost:
            raise
        except Unreportable:  # the dead letter is there, and the store reads those, too
            await _settle(message.ack())
        except Exception:
            log.exception("a message can't be made a dead letter; the broker does", job=message.message_id)
            await _settle(leave_to_broker(message))
        if job:
            self._remembered.forget(key_of(job))

    async def _attempt(self, held: Held, job: Envelope, handler: Handler) -> Attempt:
        """The attempt that there is already, or a new one once a slot is free."""
        key = key_of(job)
        attempt = self._remembered.get(key)
        if attempt is None:
            slot = await self._load.take()
            attempt = self._remembered.get(key)
            if attempt:  # of another copy of the message, which came to its slot first
                slot.attempt_ended()
            else:
                work = self._attempts.run(job, handler, slot)
                can_be_stopped = handler.pool is not Pool.THREAD
                attempt = self._remembered.start(key, work, can_be_stopped=can_be_stopped)
                attempt.task.add_done_callback(slot.attempt_ended)
        held.started = True
        return attempt


async def _settle(step: Awaitable[None]) -> None:
    try:
        await step
    except LOST as problem:
        raise _Lost(str(problem)) from problem
