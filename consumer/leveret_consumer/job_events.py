"""What is told of a job: an event when an attempt starts, some on its progress, one when it ends; and log lines."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from leveret.events import Error, JobEvent, Progress
from leveret.jobs import Envelope, State
from leveret.wire import Unreadable
from leveret_consumer.ends import (
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


def log_fields(job: Envelope) -> dict[str, str | int]:
    """Return what each log line on a job carries."""
    return {"job": str(job.id), "queue": job.queue, "type": job.type, "attempt": job.attempt}


class Telling:
    """Reports on one attempt that runs, each at the time when it is made.

    Those times rise, whatever the clock does: they alone tell the recorder which of an attempt's reports is the newest.
    """

    def __init__(
        self, job: Envelope, consumer: str, started_at: datetime, max_attempts: int, now: Callable[[], datetime]
    ) -> None:
        self._job, self._consumer, self._started_at = job, consumer, started_at
        self._max_attempts, self._now = max_attempts, now
        self._next = started_at

    def start(self) -> JobEvent:
        return msgspec.structs.replace(self._running(), wait_seconds=_waited(self._job, self._started_at))

    def progress(self, progress: Progress) -> JobEvent:
        return msgspec.structs.replace(self._running(), progress=progress)

    def _running(self) -> JobEvent:
        at = max(self._now(), self._next)
        self._next = at + timedelta(microseconds=1)
        return msgspec.structs.replace(
            _about(self._job, self._consumer, State.RUNNING, at),
            max_attempts=self._max_attempts,
            started_at=self._started_at,
        )


def finished(job: Envelope, consumer: str, at: datetime, how: Finished) -> JobEvent:
    event = msgspec.structs.replace(
        _about(job, consumer, _state(how.outcome), at),
        max_attempts=how.max_attempts,
        started_at=how.started_at,
        run_seconds=how.run_seconds,
    )
    match how.outcome:
        case Succeeded(result):
            return msgspec.structs.replace(event, result=msgspec.Raw(result))
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


def _about(job: Envelope, consumer: str, state: State, at: datetime) -> JobEvent:
    return JobEvent(
        id=job.id,
        type=job.type,
        state=state,
        at=at,
        consumer=consumer,
        attempt=job.attempt,
        generation=job.generation,
        delivery=job.delivery,
        submitted_at=job.submitted_at,
        correlation_id=job.correlation_id,
        deadline=job.deadline,
    )


def _waited(job: Envelope, started_at: datetime) -> float | None:
    """From submission to the first start. When a delay ended is not known, nor when a lost consumer's job came back."""
    if job.submitted_at is None or job.attempt > 1 or job.delivery > 0 or job.generation > 1:
        return None
    waited = (started_at - job.submitted_at).total_seconds()
    return waited if waited >= 0 else None
