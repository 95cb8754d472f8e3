"""How far a task is: what the service that runs it reports, and what that makes of the task's row.

Reports come late, twice, and in any order: a job runs again after a kill, and a report waits while the database is away. So
each tells the whole state that it knows, the one that is furthest along wins, and all orders lead to the same row. A run is
the task's own count: it begins anew with PATCH *new*. Within it Leveret counts: generations, which redrives make, and
attempts.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from examples.fronts.text import plain

MOST_SECONDS = 3_600
LONGEST_ERROR = 2_000  # characters
_NEVER = datetime.min.replace(tzinfo=UTC)

Count = Annotated[int, Field(ge=0, lt=2**31)]


class Status(StrEnum):
    NEW = "new"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Step(IntEnum):
    """Of an attempt, the later the higher: the job's end as Leveret knows it has the last word."""

    STARTED = 1
    RAISED = 2  # another attempt follows, or a dead letter
    DONE = 3
    DEAD = 4


STATUS_AT = {
    Step.STARTED: Status.RUNNING,
    Step.RAISED: Status.RUNNING,
    Step.DONE: Status.DONE,
    Step.DEAD: Status.FAILED,
}


class Job(BaseModel):
    """The payload of a task's job."""

    model_config = ConfigDict(frozen=True)
    task: UUID
    run: Count
    seconds: Annotated[float, Field(ge=0, le=MOST_SECONDS)]


class Report(BaseModel):
    """The payload of `task-status`."""

    model_config = ConfigDict(frozen=True)
    task: UUID
    run: Count
    generation: Count
    attempt: Count
    step: Step
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What a task's row has of it."""

    status: Status = Status.NEW
    run: int = 1
    generation: int = 0
    attempt: int = 0
    step: int = 0
    started_at: datetime | None = None  # the first start of this run
    finished_at: datetime | None = None
    error: str | None = None

    def _place(self) -> tuple[int, int, int, datetime, str]:
        return self.generation, self.attempt, self.step, self.finished_at or _NEVER, self.error or ""


def merge(row: Progress, report: Report) -> Progress:
    """Return the row after a report: further on, or as it was."""
    if row.status is Status.CANCELLED or report.run != row.run:
        return row  # cancelled is final; another run's reports say nothing of this one
    told = Progress(
        STATUS_AT[report.step], report.run, report.generation, report.attempt, report.step,
        finished_at=report.finished_at, error=None if report.error is None else plain(report.error, LONGEST_ERROR),
    )  # fmt: skip
    starts = [at for at in (row.started_at, report.started_at) if at is not None]
    return replace(max(row, told, key=Progress._place), started_at=min(starts, default=None))
