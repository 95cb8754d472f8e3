"""Deliveries that need no care: the first one of a job for an `async def` handler, with no reply and no deadline.

Most are such, and a task for each would cost as much as all the rest. So slot, attempt, report and ack call one another,
and those of a batch of reports are acknowledged in one go. What doesn't succeed, or is no plain one after all, is carried
on by `deliveries`, which finds the attempt among what is remembered.
"""

import asyncio
from collections.abc import Awaitable

from leveret.jobs import Envelope
from leveret.rabbitmq.connection import BrokerGone
from leveret.sdk.handlers import Handler, Pool
from leveret.wire import Unreadable
from leveret_consumer.acks import Delivered, give_back
from leveret_consumer.attempt import Attempts
from leveret_consumer.deliveries import Deliveries, Held
from leveret_consumer.ends import Outcome, Succeeded
from leveret_consumer.load import Load, Slot
from leveret_consumer.reading import Reading
from leveret_consumer.remembered import Attempt, Remembered, key_of
from leveret_consumer.settle import Settling


class PlainDeliveries:
    """Those of one connection, beside the others."""

    def __init__(
        self,
        deliveries: Deliveries,
        reading: Reading,
        attempts: Attempts,
        settling: Settling,
        remembered: Remembered,
        load: Load,
    ) -> None:
        self.deliveries, self.settling, self.remembered = deliveries, settling, remembered
        self._reading, self._attempts, self._load = reading, attempts, load
        self._held: set[Plain] = set()

    def take(self, message: Delivered) -> Awaitable[None] | None:
        """Begin one delivery of the own queue; return what handles it if it's no plain one."""
        try:
            held = self._read(message)
        except Exception:  # noqa: BLE001 - an error of ours: `deliveries` meets it too, and takes care of it
            held = None
        if held is None:
            return self.deliveries.take(message)
        self._held.add(held)
        self._load.claim(held.start)
        return None

    def channel_closed(self, tag: str) -> None:
        """Stop what was delivered to a consumer tag whose channel is closed: the broker has it again."""
        for held in [held for held in self._held if held.message.consumer_tag == tag]:
            held.withdraw()
            self.deliveries.forget(held)
            self.let_go(held)

    def attempt(self, held: "Plain", slot: Slot) -> Attempt:
        work = self._attempts.run(held.job, held.handler, slot)
        attempt = self.remembered.start(key_of(held.job), work, can_be_stopped=True)
        attempt.task.add_done_callback(slot.attempt_ended)
        return attempt

    def let_go(self, held: "Plain") -> None:
        self._held.discard(held)
        self.deliveries.let_go(held)

    def _read(self, message: Delivered) -> "Plain | None":
        if message.redelivered or message.reply_to or self._reading.pool(message.type) is not Pool.LOOP:
            return None
        job = self._reading.envelope(message)
        if isinstance(job, Unreadable) or job.delivery or job.deadline or self.remembered.get(key_of(job)):
            return None
        job, handler = self._reading.job(job, message.headers)
        if not isinstance(handler, Handler):
            return None
        held = Plain(self, message, job, handler)
        return held if self.deliveries.hold(held) else None


class Plain(Held):
    """One from its slot to its ack. It stands in a batch of reports as a future does."""

    __slots__ = ("_all", "_attempt", "_withdrawn", "handler", "job")
    job: Envelope

    def __init__(self, all: PlainDeliveries, message: Delivered, job: Envelope, handler: Handler) -> None:
        super().__init__(message, job)
        self._all, self.job, self.handler = all, job, handler
        self._attempt: Attempt | None = None
        self._withdrawn = False

    def withdraw(self) -> None:
        """Do nothing with it any more; what becomes of its attempt is not decided here."""
        self._withdrawn = True

    def start(self, slot: Slot) -> bool:
        """Begin its attempt in a slot; tell whether it takes it."""
        if self._withdrawn:
            return False
        if self._all.remembered.get(key_of(self.job)):  # of another copy of the message, which came to its slot first
            self._carry_on()
            return False
        self.started = True
        self._attempt = self._all.attempt(self, slot)
        self._attempt.task.add_done_callback(self._ended)
        return True

    def _ended(self, task: "asyncio.Task[object]") -> None:
        if self._withdrawn:
            return
        attempt = self._attempt
        assert attempt is not None
        if task.cancelled():  # with another delivery of it
            self._all.let_go(self)
            self.message.in_background(give_back(self.message))
        elif task.exception() or attempt.lock.locked() or not _is_plain(attempt.task.result().outcome):
            self._carry_on()
        else:
            attempt.take_lock()
            self._all.settling.success(self.job, attempt.task.result(), self)

    def done(self) -> bool:
        return False

    def set_result(self, _: None) -> None:
        """The broker has the report."""
        attempt = self._attempt
        assert attempt is not None
        attempt.copied = attempt.reported = True
        attempt.lock.release()
        if not self._withdrawn:
            self.message.ack_soon(self._acked)

    def set_exception(self, problem: BaseException) -> None:
        """The connection ended before the report was confirmed, or it can't be written."""
        assert self._attempt is not None
        self._attempt.lock.release()
        if self._withdrawn:
            return
        if isinstance(problem, BrokerGone):
            self._lost(problem)
        else:
            self._carry_on()

    def _acked(self, problem: BaseException | None) -> None:
        if problem:
            self._lost(problem)
            return
        attempt = self._attempt
        assert attempt is not None
        self._all.remembered.settled(key_of(self.job), attempt)
        self._all.settling.note(self.job, attempt.task.result())
        self._all.let_go(self)

    def _lost(self, problem: BaseException) -> None:
        self._all.deliveries.lost(self, problem)
        self._all.let_go(self)

    def _carry_on(self) -> None:
        self._withdrawn = True
        self._all.let_go(self)
        self.message.in_background(self._all.deliveries.carry_on(self.message))


def _is_plain(outcome: Outcome) -> bool:
    return isinstance(outcome, Succeeded) and not outcome.follow_ups
