"""Carry out the outcome of a delivery: publish the copy, the event and the reply, acknowledge.

The order is what makes it at least once. The copy (a dead letter, or the next attempt in its delay level) is confirmed,
then the event is confirmed, then the reply of a job that is final, then comes the single ack. A crash between two steps
repeats an earlier one and loses nothing. A next attempt that waits in the store has no copy: the event is what the store
publishes it from. Nor has a job that is dead by its deadline, where a reply tells of it.

The broker closes the channel for a copy that it doesn't take, and the session ends with it. So a delivery that comes
again is settled with care: a copy that the broker takes nowhere is not published, and the message goes to the dead
letters by the broker's own hand.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol
from uuid import UUID

import aio_pika
import structlog

from leveret import topology, wire
from leveret.events import Error
from leveret.jobs import Envelope, Header, State
from leveret.rabbitmq.publisher import LATE_CONFIRM_TIMEOUT, NotConfirmed, until_confirmed
from leveret.rabbitmq.replies import Replies
from leveret.reply import job_dead, reply
from leveret.wire import Unreadable
from leveret_consumer import job_events
from leveret_consumer.acks import Delivered
from leveret_consumer.contexts import log_fields
from leveret_consumer.failures import as_header
from leveret_consumer.job_events import Ended
from leveret_consumer.outcomes import DeadLetter, Deferred, GivenBack, RetryAfter, RetryFromStore, Succeeded, Unkept
from leveret_consumer.reports import Reports
from leveret_consumer.runs import Run

log = structlog.get_logger(__name__)
_lines = logging.getLogger(__name__)

MILLISECOND = timedelta(milliseconds=1)


class Publish(Protocol):
    async def __call__(
        self, exchange: str, routing_key: str, message: aio_pika.Message, timeout: float, *, mandatory: bool = True
    ) -> None: ...


Takes = Callable[[aio_pika.Message], Awaitable[bool]]  # whether the broker would; raises NotConfirmed if that's unknown


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
        takes: Takes | None = None,
    ) -> None:
        self._queue, self._consumer, self._reports = queue, consumer, reports
        self._publish, self._takes, self._now, self._new_id = publish, takes, now, new_id
        self._replies = replies

    async def job(self, message: Delivered, job: Envelope, ended: Ended, run: Run | None) -> None:
        """Settle a job; what an earlier delivery of the same run has had confirmed is left out."""
        if not (run and run.copied):
            if not await self._copy(message, job, ended):
                await _leave_to_broker(message, str(job.id))
                return
            if run:
                run.copied = True
        if not (run and run.reported):
            told = replace(job, headers=_stored(message, job)) if _waits_in_store(ended) else job
            await self._reports.confirmed(job_events.ended(told, self._consumer, self._now(), ended))
            if run:
                run.reported = True
        if job.reply_to and not (run and run.replied):
            replied = await self._reply(job.reply_to, message, job, ended)
            if run:
                run.replied = replied
        await message.ack()
        _note(job, ended)

    async def unreadable(self, message: Delivered, what: Unreadable, dead: DeadLetter) -> None:
        """Settle a message that can't be run: it's kept as it is among the dead letters.

        One without an id is given one, so that it can be listed, inspected and purged. A crash before the ack brings the
        message back, and then it's there twice, under two ids.
        """
        job_id = what.id or self._new_id()
        copy = wire.copy_of(message, _why(dead, None, self._now()), message_id=str(job_id), reply_to=what.reply_to)
        if not await self._until_confirmed(message, topology.DEAD, copy, str(job_id)):
            await _leave_to_broker(message, str(job_id))
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

    async def _copy(self, message: Delivered, job: Envelope, ended: Ended) -> bool:
        match ended.outcome:
            case Succeeded() | RetryFromStore() | Deferred() | Unkept():
                return True
            case RetryAfter(level, _):
                exchange = topology.JOBS if level is None else topology.delay_exchange(level)
                copy = _copy(message, job, job.attempt + 1, {})
            case GivenBack(level, since):
                marks: dict[str, str | int] = {wire.GIVEN_BACK_SINCE: wire.as_time(since), wire.DELIVERED: job.delivery}
                if job.not_before:  # a time: a delay would begin anew
                    marks[wire.RUN_AT] = wire.as_time(job.not_before + MILLISECOND)  # which cuts
                exchange, copy = topology.delay_exchange(level), _copy(message, job, job.attempt, marks)
            case DeadLetter():
                why = _why(ended.outcome, ended.started_at, self._now())
                exchange, copy = topology.DEAD, _copy(message, job, job.attempt, why)
        return await self._until_confirmed(message, exchange, copy, str(job.id))

    async def _reply(self, reply_to: str, message: Delivered, job: Envelope, ended: Ended) -> bool:
        match ended.outcome:
            case Succeeded(result):
                state, body = State.SUCCEEDED, result
            case DeadLetter(_, error):
                state, body = State.DEAD, job_dead(job.id, job.queue, error)
            case Unkept(error):
                state, body = State.DEAD, job_dead(job.id, job.queue, error, kept=False)
            case _:
                return False
        answer = reply(state, message.correlation_id or message.message_id, body)
        return await self._replies.send(reply_to, answer, job=str(job.id))

    async def _until_confirmed(self, message: Delivered, exchange: str, copy: aio_pika.Message, job: str) -> bool:
        """Publish, and again after a refusal, until confirmed; tell whether the broker takes such a message at all."""
        if self._takes and message.redelivered and not await _known(self._takes, copy):
            return False
        publish = partial(self._publish, exchange, self._queue, copy, LATE_CONFIRM_TIMEOUT)
        await until_confirmed(publish, "a copy", job=job, exchange=exchange)
        return True


async def _known(takes: Takes, copy: aio_pika.Message) -> bool:
    try:
        return await takes(copy)
    except NotConfirmed as problem:
        log.debug("whether the broker takes a copy is not known", because=str(problem))
        return True


async def _leave_to_broker(message: Delivered, job: str) -> None:
    """Reject: the broker, which has the message, makes a dead letter of it itself, and the recorder knows it by that."""
    log.warning("the broker takes no copy of a message; it keeps the message itself as a dead letter", job=job)
    await message.nack(requeue=False)


def _copy(message: Delivered, job: Envelope, attempt: int, marks: Mapping[str, str | int]) -> aio_pika.Message:
    """Under the job's id, which is not the message's where a job was made of another queue's dead letter."""
    headers: dict[str, str | int] = {wire.GENERATION: job.generation, wire.ATTEMPT: attempt, **marks}
    if job.dead_letter:
        headers[wire.DEAD_LETTER] = wire.dead_letter_header(job.dead_letter)
    return wire.copy_of(message, headers, message_id=str(job.id), reply_to=job.reply_to)


def _waits_in_store(ended: Ended) -> bool:
    return isinstance(ended.outcome, RetryFromStore | Deferred)


def _stored(message: Delivered, job: Envelope) -> dict[str, Header] | None:
    made_of = {wire.DEAD_LETTER: wire.dead_letter_header(job.dead_letter)} if job.dead_letter else {}
    return wire.stored_headers({**message.headers, **made_of})


def _why(dead: DeadLetter, started_at: datetime | None, died_at: datetime) -> dict[str, str]:
    why = {wire.REASON: dead.reason, wire.ERROR: as_header(dead.error), wire.DIED_AT: wire.as_time(died_at)}
    return why | ({wire.STARTED_AT: wire.as_time(started_at)} if started_at else {})


def _note(job: Envelope, ended: Ended) -> None:
    if isinstance(ended.outcome, Succeeded) and not _lines.isEnabledFor(
        logging.DEBUG
    ):  # a line that nobody reads costs 4 µs
        return
    fields = log_fields(job)
    match ended.outcome:
        case Succeeded():
            log.debug("succeeded", **fields, run_seconds=ended.run_seconds)
        case RetryAfter(_, error):
            log.info("failed, runs again", **fields, wait=str(ended.outcome.wait), **_of(error))
        case RetryFromStore(wait, error):
            log.info("failed, runs again from the store", **fields, wait=str(wait), **_of(error))
        case GivenBack(_, since, error):
            log.debug("given back", **fields, since=str(since), wait=str(ended.outcome.wait), **_of(error))
        case Deferred(until):
            log.debug("waits for the time that its sender asked for", **fields, until=str(until))
        case DeadLetter(_, error):
            log.warning("dead", **fields, **_of(error))
        case Unkept(error):
            log.info("dead, and no dead letter", **fields, **_of(error))


def _of(error: Error) -> dict[str, str | None]:
    return {"reason": error.reason, "error": error.type, "detail": error.message}
