"""What is told of a job: an event when an attempt starts, some on its progress, one when it ends; and log lines.

An attempt that ends before its start was sent is told of once: the end has what the start would have said.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from leveret.events import NO_RESULT, Error, JobEvent, Progress
from leveret.jobs import Envelope, State
from leveret.wire import Unreadable
from leveret_consumer.ends import (
    Cancelled,
    DeadLetter,
    Deferred,
    Finished,
    GivenBack,
    Outcome,
    RetryAfter,
    RetryFromStore,
    Succeeded,
    Unkept,
)

_A_MOMENT = timedelta(microseconds=1)


def log_fields(job: Envelope, **fields: str | int) -> dict[str, str | int]:
    """Return what each log line on a job carries."""
    return {"job": str(job.id), "queue": job.queue, "type": job.type, "attempt": job.attempt, **fields}


class Telling:
    """Reports on one attempt that runs, each at the time when it is made.

    Those times rise, whatever the clock does: they alone tell the recorder which of an attempt's reports is the newest.
    """

    __slots__ = ("_consumer", "_job", "_max_attempts", "_next", "_now", "_start_is_told", "_started_at")

    def __init__(
        self, job: Envelope, consumer: str, started_at: datetime, max_attempts: int, now: Callable[[], datetime]
    ) -> None:
        self._job, self._consumer, self._started_at = job, consumer, started_at
        self._max_attempts, self._now = max_attempts, now
        self._next = started_at + _A_MOMENT
        self._start_is_told = False

    def start(self) -> JobEvent | None:
        """Return the report on the start, to be sent now; None where the end tells of it."""
        if self._start_is_told:
            return None
        self._start_is_told = True
        return self._running(self._started_at, wait=_waited(self._job, self._started_at))

    def end(self) -> float | None:
        """Note that the attempt has ended; return how long the job waited for it if the end has to tell that."""
        if self._start_is_told:
            return None
        self._start_is_told = True
        return _waited(self._job, self._started_at)

    def progress(self, progress: Progress) -> JobEvent:
        at = max(self._now(), self._next)
        self._next = at + _A_MOMENT
        return msgspec.structs.replace(self._running(at), progress=progress)

    def _running(self, at: datetime, wait: float | None = None) -> JobEvent:
        return _about(self._job, self._consumer, State.RUNNING, at, self._max_attempts, self._started_at, wait)


def finished(job: Envelope, consumer: str, at: datetime, how: Finished) -> JobEvent:
    result = msgspec.Raw(how.outcome.result) if isinstance(how.outcome, Succeeded) else NO_RESULT
    times = (how.max_attempts, how.started_at, how.wait_seconds, how.run_seconds)
    event = _about(job, consumer, _state(how.outcome), at, *times, result)
    match how.outcome:
        case Succeeded() | Cancelled():
            return event
        case RetryAfter(_, error):
            return msgspec.structs.replace(event, error=error, retry_at=at + how.outcome.wait)
        case RetryFromStore(wait, error):
            return msgspec.structs.replace(event, error=error, **_from_store(job, at + wait))
        case Deferred(until):
            # As the attempt before, so that the store publishes this one, and of no delivery: the latest word counts.
            return msgspec.structs.replace(event, attempt=job.attempt - 1, delivery=0, **_from_store(job, until))
        case GivenBack(_, _, error):
            # Of the attempt before, and of no delivery of it: so each later one replaces the earlier, and none a start.
            return msgspec.structs.replace(
                event,
                attempt=job.attempt - 1,
                delivery=0,
                error=error,
                retry_at=at + how.outcome.wait,
                given_back=True,
            )
        case DeadLetter(_, error):
            return msgspec.structs.replace(event, error=error)
        case Unkept(error):
            return msgspec.structs.replace(event, error=error, reply_to=job.reply_to)


def queued(job: Envelope, consumer: str, at: datetime) -> JobEvent:
    """That the broker has a job which another one has submitted; of no attempt, so whatever else is told of it counts more."""
    return msgspec.structs.replace(_about(job, consumer, State.QUEUED, at, None, None, None), attempt=0)


def _from_store(job: Envelope, publish_at: datetime) -> dict[str, object]:
    """What the store publishes a message by: it may never have seen a job that a foreign client submitted."""
    return {
        "retry_at": publish_at,
        "publish_at": publish_at,
        "payload": msgspec.Raw(job.body),
        "reply_to": job.reply_to,
        "priority": job.priority,
        "traceparent": job.traceparent,
        "headers": job.headers,
    }


def never_read(message: Unreadable, job_id: UUID, type: str, *, consumer: str, at: datetime, error: Error) -> JobEvent:
    """The end of a message that can't be run, under its own id or the one that it was given."""
    return JobEvent(
        id=job_id,
        type=type,
        state=State.DEAD,
        at=at,
        consumer=consumer,
        attempt=message.attempt,
        generation=message.generation,
        error=error,
    )


def _state(outcome: Outcome) -> State:
    match outcome:
        case Succeeded():
            return State.SUCCEEDED
        case RetryAfter() | RetryFromStore() | GivenBack() | Deferred():
            return State.RETRYING
        case DeadLetter() | Unkept():
            return State.DEAD
        case Cancelled():
            return State.CANCELLED


def _about(
    job: Envelope,
    consumer: str,
    state: State,
    at: datetime,
    max_attempts: int | None,
    started_at: datetime | None,
    wait_seconds: float | None,
    run_seconds: float | None = None,
    result: msgspec.Raw = NO_RESULT,
) -> JobEvent:
    return JobEvent(
        id=job.id,
        type=job.type,
        state=state,
        at=at,
        consumer=consumer,
        attempt=job.attempt,
        generation=job.generation,
        delivery=job.delivery,
        max_attempts=max_attempts,
        submitted_at=job.submitted_at,
        started_at=started_at,
        run_seconds=run_seconds,
        wait_seconds=wait_seconds,
        result=result,
        correlation_id=job.correlation_id,
        deadline=job.deadline,
    )


def _waited(job: Envelope, started_at: datetime) -> float | None:
    """From submission to the first start. When a delay ended is not known, nor when a lost consumer's job came back."""
    if job.submitted_at is None or job.attempt > 1 or job.delivery > 0 or job.generation > 1:
        return None
    waited = (started_at - job.submitted_at).total_seconds()
    return waited if waited >= 0 else None
