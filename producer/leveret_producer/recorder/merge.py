"""Make rows of reports: of each job and each attempt the report that has the last word.

Reports come in any order and more than once. Each has a place in a total order, (key, tie), and the one with the larger
place writes the whole row, here in a batch as later in the database; so the row that comes out does not depend on the
order. The key is the job's merge key. Reports of the same key (progress of one attempt; a final state that is reported
twice because the job ran twice) are told apart by their time: the later progress counts, but the earlier end. What a
dead letter itself tells is less than what the consumer tells of the same end, and comes behind it. So does it that a
message was given back, behind what is told of the failed attempt before.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from aio_pika.abc import AbstractIncomingMessage

from leveret.events import JobEvent
from leveret.jobs import FINAL, DeadReason, State
from leveret_producer.slices import Steps, at_once

# Of two ends of an attempt the one that the job's state goes by. Versions before 0.2.0 wrote 3 for a success.
_ENDS = {State.RUNNING: 0, State.RETRYING: 1, State.DEAD: 2, State.CANCELLED: 3, State.SUCCEEDED: 4}
_TIME_BITS = 53  # microseconds since 1970, until the year 2255
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER_MAX = (1 << 31) - 1
LONGEST_TYPE, LONGEST_NAME, LONGEST_MESSAGE, LONGEST_TRACEBACK = 255, 253, 8_192, 65_536  # characters

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, eq=False)
class Letter:
    """The dead message that a report was made of; what of it is to be kept is in the event."""

    message: AbstractIncomingMessage
    keeps_body: bool  # False: it's too large for the store
    unanswered: bool  # no consumer has replied to whoever submitted it


@dataclass(frozen=True, slots=True)
class Report:
    """An event, and the queue that it came for."""

    queue: str
    event: JobEvent
    letter: Letter | None = None


@dataclass(frozen=True, slots=True)
class JobRow:
    id: UUID
    queue: str
    type: str
    state: str
    merge_key: int
    tie: int
    generation: int
    attempt: int
    max_attempts: int | None
    created_at: datetime  # used where the store has not seen the job
    started_at: datetime | None
    finished_at: datetime | None
    result: str | None
    error: str | None
    progress: str | None
    correlation_id: str | None
    # The store publishes the next attempt then; None: a message is with the broker, or none is needed.
    due_at: datetime | None
    told_at: datetime | None  # by the clock that says when it's due
    dead_reason: str | None
    deadline: datetime | None
    purged_at: datetime | None  # with a dead job that is no dead letter


AttemptId = tuple[UUID, int, int, int]  # job, generation, attempt, delivery


@dataclass(frozen=True, slots=True)
class AttemptRow:
    job_id: UUID
    generation: int
    attempt: int
    delivery: int
    merge_key: int
    consumer: str
    started_at: datetime | None
    finished_at: datetime | None
    outcome: str | None
    error: str | None

    @property
    def id(self) -> AttemptId:
        return self.job_id, self.generation, self.attempt, self.delivery


def jobs(reports: Iterable[Report]) -> list[JobRow]:
    """Return a row for each job, sorted by id; all reports on one job must be for the same queue."""
    return at_once(merging_jobs(reports))


def merging_jobs(reports: Iterable[Report]) -> Steps[list[JobRow]]:
    rows: dict[UUID, JobRow] = {}
    for report in reports:
        yield
        new, old = job_row(report), rows.get(report.event.id)
        if old is None or (old.merge_key, old.tie) < (new.merge_key, new.tie):
            rows[new.id] = new
    return sorted(rows.values(), key=lambda row: row.id)


def attempts(reports: Iterable[Report]) -> list[AttemptRow]:
    """Return a row for each attempt that a consumer started or ended, sorted by its id.

    A dead letter does not say which delivery of which consumer it was; and who gave a message back, or left it to the store
    before its time, started nothing.
    """
    return at_once(merging_attempts(reports))


def merging_attempts(reports: Iterable[Report]) -> Steps[list[AttemptRow]]:
    rows: dict[AttemptId, AttemptRow] = {}
    for report in reports:
        yield
        if report.event.state not in _ENDS or report.letter or report.event.of_no_attempt:
            continue
        new = attempt_row(report.event)
        old = rows.get(new.id)
        if old is None or old.merge_key < new.merge_key:
            rows[new.id] = new
    return sorted(rows.values(), key=lambda row: row.id)


def job_row(report: Report) -> JobRow:
    event, final = report.event, report.event.state in FINAL
    created_at = event.submitted_at or first_seen(event)
    finished_at = max(event.at, created_at) if final else None  # retention counts from it, whatever a clock says
    return JobRow(
        id=event.id,
        queue=clean(report.queue, LONGEST_TYPE),
        type=clean(event.type, LONGEST_TYPE),
        state=str(event.state),
        merge_key=event.key,
        tie=_tie(report),
        generation=_integer(event.generation),
        attempt=_integer(event.attempt),
        max_attempts=None if event.max_attempts is None else _integer(event.max_attempts),
        created_at=created_at,
        started_at=event.started_at,
        finished_at=finished_at,
        result=_result(event),
        error=_error(event),
        progress=None if event.progress is None else _encode(event.progress).decode(),
        correlation_id=None if event.correlation_id is None else clean(event.correlation_id, LONGEST_TYPE),
        due_at=event.publish_at if event.state is State.RETRYING else None,
        told_at=event.at,
        dead_reason=clean(event.error.reason, LONGEST_NAME) if event.state is State.DEAD and event.error else None,
        deadline=event.deadline,
        purged_at=None if _has_letter(report) else finished_at,
    )


def _has_letter(report: Report) -> bool:
    """Say whether a job that is dead is a dead letter: not one whose consumer tells the reply that says so instead."""
    event = report.event
    late = event.error is not None and event.error.reason == DeadReason.DEADLINE_EXCEEDED
    return report.letter is not None or event.state is not State.DEAD or not late or event.reply_to is None


def first_seen(event: JobEvent) -> datetime:
    """Since when, as far as an event tells, there is a job whose message has no time: a report comes after the start."""
    return min(event.started_at or event.at, event.at)


def _tie(report: Report) -> int:
    at = _microseconds(report.event.at)
    if report.letter:
        return -(1 << _TIME_BITS) - at
    if report.event.given_back:
        return -(1 << _TIME_BITS) + at
    return -at if report.event.state in FINAL else at


def attempt_row(event: JobEvent) -> AttemptRow:
    ended = event.state is not State.RUNNING
    return AttemptRow(
        job_id=event.id,
        generation=_integer(event.generation),
        attempt=_integer(event.attempt),
        delivery=_integer(event.delivery),
        merge_key=_ENDS[event.state] << _TIME_BITS | _microseconds(event.at),
        consumer=clean(event.consumer, LONGEST_NAME),
        started_at=event.started_at,
        finished_at=event.at if ended else None,
        outcome=str(event.state) if ended else None,
        error=_error(event),
    )


def clean(text: str, longest: int) -> str:
    """Return text that PostgreSQL takes: no NUL, not too long."""
    return text.replace("\0", "")[:longest]


def _result(event: JobEvent) -> str | None:
    return bytes(event.result).decode(errors="replace") or None


def _error(event: JobEvent) -> str | None:
    if event.error is None:
        return None
    error = event.error
    shortened = msgspec.structs.replace(
        error,
        reason=clean(error.reason, LONGEST_NAME),
        message=clean(error.message, LONGEST_MESSAGE),
        type=None if error.type is None else clean(error.type, LONGEST_NAME),
        traceback=None if error.traceback is None else clean(error.traceback[-LONGEST_TRACEBACK:], LONGEST_TRACEBACK),
    )
    return _encode(shortened).decode()


def _integer(number: int) -> int:
    return max(0, min(number, _INTEGER_MAX))


def _microseconds(at: datetime) -> int:
    # By way of a float, neighbours would be the same.
    return max(0, min((at - _EPOCH) // timedelta(microseconds=1), (1 << _TIME_BITS) - 1))
