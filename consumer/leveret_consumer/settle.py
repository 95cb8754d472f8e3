"""Carry out the outcome of a delivery: publish the copy, the event and the reply, acknowledge.

The order is what makes it at least once. The copy (a dead letter, or the next attempt in its delay level) or the follow-ups of
a success are confirmed, then the event is confirmed, then the reply of a job that is final, then comes the single ack. A crash
between two steps repeats an earlier one and loses nothing. A next attempt that waits in the store has no copy: the event is what
the store publishes it from. Nor has a job that is dead by its deadline, where a reply tells of it, or one that is cancelled.

The broker closes the channel for a copy that it doesn't take, and the session ends with it. So a delivery that comes
again is settled with care: a copy that the broker takes nowhere is not published, and the message goes to the dead
letters by the broker's own hand.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import aio_pika
import msgspec
import structlog

from leveret import topology, wire
from leveret.events import Error
from leveret.jobs import Envelope, Header, State
from leveret.rabbitmq.publisher import LATE_CONFIRM_TIMEOUT, NotConfirmed, until_confirmed
from leveret.rabbitmq.replies import Replies
from leveret.reply import job_cancelled, job_dead, reply
from leveret.wire import Unreadable
from leveret_consumer import job_events
from leveret_consumer.acks import Delivered, leave_to_broker
from leveret_consumer.ends import (
    Cancelled,
    DeadLetter,
    Deferred,
    Finished,
    GivenBack,
    RetryAfter,
    RetryFromStore,
    Succeeded,
    Unkept,
    as_header,
)
from leveret_consumer.job_events import log_fields
from leveret_consumer.remembered import Steps
from leveret_consumer.reports import Confirmed, Reports
from leveret_consumer.submitting import Publish, Submitting

log = structlog.get_logger(__name__)
_lines = logging.getLogger(__name__)

MILLISECOND = timedelta(milliseconds=1)


class NotTaken(Exception):
    """What can be neither copied nor left to the broker."""


# Tells whether the broker would; raises NotConfirmed if that's unknown.
WouldTake = Callable[[aio_pika.Message], Awaitable[bool]]


class Settling:
    def __init__(
        self,
        queue: str,
        consumer: str,
        reports: Reports,
        publish: Publish,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        replies: Replies,
        would_take: WouldTake | None = None,
    ) -> None:
        self._queue, self._consumer, self._reports = queue, consumer, reports
        self._publish, self._would_take, self._now, self._new_id = publish, would_take, now, new_id
        self._replies = replies
        self._submitting = Submitting(queue, consumer, reports, publish, now)

    async def job(self, message: Delivered, job: Envelope, finished: Finished, steps: Steps) -> None:
        """Settle a job; what an earlier delivery of the same attempt has had confirmed is left out."""
        if not steps.copied and not await self._copy(message, job, finished):
            await self._leave_to_broker(message, str(job.id))
            return
        steps.copied = True
        if not steps.reported:
            told = msgspec.structs.replace(job, headers=_stored(message, job)) if _waits_in_store(finished) else job
            await self._reports.confirmed(job_events.finished(told, self._consumer, self._now(), finished))
            steps.reported = True
        if job.reply_to and not steps.replied:
            steps.replied = await self._reply(job.reply_to, message, job, finished)
        await message.ack()
        self.note(job, finished)

    def success(self, job: Envelope, finished: Finished, confirmed: Confirmed) -> None:
        """Report on a job that has no reply; `confirmed` is told when it may be acknowledged."""
        self._reports.hand_on(job_events.finished(job, self._consumer, self._now(), finished), confirmed)

    def note(self, job: Envelope, finished: Finished) -> None:
        """Write the line of the log on a job that is settled."""
        # A line that nobody reads costs 4 µs.
        if isinstance(finished.outcome, Succeeded) and not _lines.isEnabledFor(logging.DEBUG):
            return
        fields = log_fields(job)
        match finished.outcome:
            case Succeeded():
                log.debug("succeeded", **fields, run_seconds=finished.run_seconds)
            case RetryAfter(_, error):
                log.info("failed, runs again", **fields, wait=str(finished.outcome.wait), **_of(error))
            case RetryFromStore(wait, error):
                log.info("failed, runs again from the store", **fields, wait=str(wait), **_of(error))
            case GivenBack(_, since, error):
                log.debug("given back", **fields, since=str(since), wait=str(finished.outcome.wait), **_of(error))
            case Deferred(until):
                log.debug("waits for the time that its sender asked for", **fields, until=str(until))
            case DeadLetter(_, error):
                log.warning("dead", **fields, **_of(error))
            case Unkept(error):
                log.info("dead, and no dead letter", **fields, **_of(error))
            case Cancelled():
                log.info("cancelled", **fields)

    async def unreadable(self, message: Delivered, what: Unreadable, dead: DeadLetter) -> None:
        """Settle a message that can't be run: it's kept as it is among the dead letters.

        One without an id is given one, so that it can be listed, inspected and purged. A crash before the ack brings the
        message back, and then it's there twice, under two ids.
        """
        job_id = what.id or self._new_id()
        copy = wire.copy_of(message, _why(dead, None, self._now()), message_id=str(job_id), reply_to=what.reply_to)
        if not await self._until_confirmed(message, topology.DEAD, copy, str(job_id)):
            await self._leave_to_broker(message, str(job_id))
            return
        await self._reports.confirmed(
            job_events.never_read(
                what, job_id, message.type or "", consumer=self._consumer, at=self._now(), error=dead.error
            )
        )
        if what.reply_to:
            body = job_dead(job_id, self._queue, dead.error)
            answer = reply(State.DEAD, message.correlation_id or message.message_id, body)
            await self._replies.send(what.reply_to, answer, job=str(job_id))
        await message.ack()
        log.warning("a message can't be run", reason=dead.reason, detail=what.detail, job=str(job_id))

    async def _copy(self, message: Delivered, job: Envelope, finished: Finished) -> bool:
        match finished.outcome:
            case Succeeded(_, follow_ups):
                if follow_ups:
                    await self._submitting.submit(job, follow_ups)
                return True
            case RetryFromStore() | Deferred() | Unkept() | Cancelled():
                return True
            case RetryAfter(level, _):
                exchange = topology.JOBS if level is None else topology.delay_exchange(level)
                copy = _copy_of(message, job, job.attempt + 1, {})
            case GivenBack(level, since):
                marks: dict[str, str | int] = {wire.GIVEN_BACK_SINCE: wire.as_time(since), wire.DELIVERED: job.delivery}
                if job.not_before:  # a time: a delay would begin anew
                    marks[wire.RUN_AT] = wire.as_time(job.not_before + MILLISECOND)  # which cuts
                exchange, copy = topology.delay_exchange(level), _copy_of(message, job, job.attempt, marks)
            case DeadLetter():
                why = _why(finished.outcome, finished.started_at, self._now())
                exchange, copy = topology.DEAD, _copy_of(message, job, job.attempt, why)
        return await self._until_confirmed(message, exchange, copy, str(job.id))

    async def _reply(self, reply_to: str, message: Delivered, job: Envelope, finished: Finished) -> bool:
        match finished.outcome:
            case Succeeded(result):
                state, body = State.SUCCEEDED, result
            case DeadLetter(_, error):
                state, body = State.DEAD, job_dead(job.id, job.queue, error)
            case Unkept(error):
                state, body = State.DEAD, job_dead(job.id, job.queue, error, kept=False)
            case Cancelled():
                state, body = State.CANCELLED, job_cancelled(job.id, job.queue)
            case _:
                return False
        answer = reply(state, message.correlation_id or message.message_id, body)
        return await self._replies.send(reply_to, answer, job=str(job.id))

    async def _until_confirmed(self, message: Delivered, exchange: str, copy: aio_pika.Message, job: str) -> bool:
        """Publish, and again after a refusal, until confirmed; tell whether the broker takes such a message at all."""
        if self._would_take and message.redelivered and not await _known(self._would_take, copy):
            return False
        publish = partial(self._publish, exchange, self._queue, copy, LATE_CONFIRM_TIMEOUT)
        await until_confirmed(publish, "a copy", job=job, exchange=exchange)
        return True

    async def _leave_to_broker(self, message: Delivered, job: str) -> None:
        """The recorder knows by it what has become of the job."""
        if message.source:  # rejected from there, it would be in no queue at all
            raise NotTaken(f"the broker takes no copy of a dead letter of {message.source}, which stays there")
        log.warning("the broker takes no copy of a message; it keeps the message itself as a dead letter", job=job)
        await leave_to_broker(message)


async def _known(would_take: WouldTake, copy: aio_pika.Message) -> bool:
    try:
        return await would_take(copy)
    except NotConfirmed as problem:
        log.debug("whether the broker takes a copy is not known", because=str(problem))
        return True


def _copy_of(message: Delivered, job: Envelope, attempt: int, marks: Mapping[str, str | int]) -> aio_pika.Message:
    """Under the job's id, which is not the message's where a job was made of another queue's dead letter."""
    headers: dict[str, str | int] = {wire.GENERATION: job.generation, wire.ATTEMPT: attempt, **marks}
    if job.dead_letter:
        headers[wire.DEAD_LETTER] = wire.dead_letter_header(job.dead_letter)
    return wire.copy_of(message, headers, message_id=str(job.id), reply_to=job.reply_to)


def _waits_in_store(finished: Finished) -> bool:
    return isinstance(finished.outcome, RetryFromStore | Deferred)


def _stored(message: Delivered, job: Envelope) -> dict[str, Header] | None:
    made_of = {wire.DEAD_LETTER: wire.dead_letter_header(job.dead_letter)} if job.dead_letter else {}
    return wire.stored_headers({**message.headers, **made_of})


def _why(dead: DeadLetter, started_at: datetime | None, died_at: datetime) -> dict[str, str]:
    why = {wire.REASON: dead.reason, wire.ERROR: as_header(dead.error), wire.DIED_AT: wire.as_time(died_at)}
    return why | ({wire.STARTED_AT: wire.as_time(started_at)} if started_at else {})


def _of(error: Error) -> dict[str, str | None]:
    return {"reason": error.reason, "error": error.type, "detail": error.message}
