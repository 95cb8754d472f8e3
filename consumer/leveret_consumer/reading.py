"""What a delivered message is to this consumer: a job to run with its handler, or the outcome of what isn't.

The payload is read where the handler runs. Only of a message that has to wait it is read here, too.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from leveret import topology, wire
from leveret.jobs import DeadReason, Envelope
from leveret.sdk.handlers import BadPayload, Handler, Pool
from leveret.wire import Unreadable
from leveret_consumer.acks import Delivered
from leveret_consumer.commands import Commands
from leveret_consumer.dead_letter_source import from_source
from leveret_consumer.ends import Cancelled, DeadLetter, Deferred, Outcome, cut_message
from leveret_consumer.outcome import Judge, asked_to_wait, by_deadline, delivered_too_often, too_late, unreadable
from leveret_consumer.remembered import Remembered, key_of


class Reading:
    def __init__(
        self,
        queue: str,
        handlers: Mapping[str, Handler],
        remembered: Remembered,
        now: Callable[[], datetime],
        *,
        commands: Commands,
        delivery_limit: int = topology.BROKER_DELIVERY_LIMIT,
        judge: Judge = lambda _, dead: dead,
    ) -> None:
        self._queue, self._handlers, self._remembered, self._now = queue, handlers, remembered, now
        self._commands, self._delivery_limit, self._judge = commands, delivery_limit, judge

    def pool(self, type: str | None) -> Pool | None:
        """Return where jobs of a type run; None if nothing is for it."""
        handler = self._handlers.get(type or "")
        return handler.pool if handler else None

    def envelope(self, message: Delivered) -> Envelope | Unreadable:
        """Read a message of the own queue, or of another one's dead letters."""
        if message.source:
            return from_source(message, message.source, self._queue)
        return wire.from_message(message, self._queue)

    def job(self, job: Envelope, asked: Mapping[str, object]) -> tuple[Envelope, Handler | Outcome]:
        """Return the job, which may wait for a time that its sender asked for by a header, and what is to be done with it."""
        wait = asked_to_wait(asked, self._now())
        if isinstance(wait, datetime):
            job = msgspec.structs.replace(job, not_before=wait)
        found = self._not_to_start(job) or (wait if isinstance(wait, DeadLetter) else self._handler(job))
        if isinstance(found, Handler) and job.not_before:
            # What can't be run is told at once, and the report is JSON.
            found = _unfit(found, job) or by_deadline(Deferred(job.not_before), job, self._now())
        return job, self._judge(job, found) if isinstance(found, DeadLetter) else found

    def _not_to_start(self, job: Envelope) -> Outcome | None:
        """An attempt that is here already is not started again, however often its message comes: it's settled as it ends.

        Nor is it judged by the clock, or cancelled; one that waits for a slot is once more, as it starts.
        """
        if self._remembered.get(key_of(job)):
            return None
        if self._commands.live and self._commands.cancels(job, self._now()):
            handler = self._handlers.get(job.type)
            # With a transaction it's for the attempt to find out whether an earlier one has committed.
            if handler is None or handler.transaction is None:
                return Cancelled()
        return delivered_too_often(job.delivery, self._delivery_limit) or too_late(job, self._now())

    def _handler(self, job: Envelope) -> Handler | DeadLetter:
        if handler := self._handlers.get(job.type):
            return handler
        known = ", ".join(sorted(self._handlers))
        return unreadable(DeadReason.UNKNOWN_TYPE, f"no handler here is for {job.type!r}; there are: {known}")


def _unfit(handler: Handler, job: Envelope) -> DeadLetter | None:
    try:
        handler.read(job.body)
    except BadPayload as problem:
        return unreadable(problem.reason, cut_message(str(problem)))
    return None
