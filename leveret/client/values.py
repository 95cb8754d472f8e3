"""What an application hands to the API, and what it gets back."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from leveret.jobs import FINAL, State


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job of a list that is to be submitted."""

    type: str
    payload: object  # what msgspec can write as JSON: also dataclasses, datetimes, UUIDs; and pydantic's models
    run_at: datetime | None = None  # with its offset; not before then
    delay: timedelta | str | None = None  # instead of run_at: not before so long from now; as text `30s`
    id: UUID | None = None  # a UUIDv7; with it the job is stored once, whoever submits it again, as long as it is kept


class Submitted(msgspec.Struct, frozen=True):
    """A job that is stored."""

    id: UUID
    state: State
    warning: str | None = None  # what the API said about the request it came with: types that no consumer has told


class JobError(msgspec.Struct, frozen=True):
    reason: str | None = None
    type: str | None = None
    message: str | None = None
    traceback: str | None = None


class JobResult(msgspec.Struct, frozen=True):
    """How far a job is, and what came of it."""

    id: UUID
    state: State
    result: Any = None  # JSON, once it succeeded
    error: JobError | None = None  # of its last report, if that was a failure

    @property
    def final(self) -> bool:
        return self.state in FINAL


class BegunCancel(msgspec.Struct, frozen=True):
    """What a cancel of many jobs is about. It is stored, and goes on by itself."""

    total: int  # jobs that were named
    skipped: int  # of these had ended by then, or are none of the queue
    warning: str | None = None  # consumers of the queue are older than it needs


class Progress(msgspec.Struct, frozen=True):
    done: float
    total: float | None = None


class Attempt(msgspec.Struct, frozen=True):
    attempt: int
    consumer: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: str | None = None  # None while it runs
    error: JobError | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the API shows it; docs/reference/http-api.md tells of each field."""

    id: UUID
    queue: str
    type: str
    state: State
    payload: Any = None
    result: Any = None
    error: JobError | None = None
    progress: Progress | None = None
    attempt: int = 0
    max_attempts: int | None = None
    generation: int = 1
    attempts: tuple[Attempt, ...] = ()
    created_at: datetime | None = None
    run_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline: datetime | None = None
    cancel_requested_at: datetime | None = None
    priority: int | None = None
    correlation_id: str | None = None
    warning: str | None = None  # of a cancel: consumers of its queue are older than it needs

    @property
    def final(self) -> bool:
        return self.state in FINAL
