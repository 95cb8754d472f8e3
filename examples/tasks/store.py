"""Service A's database: tasks, and how far each is.

Whatever goes wrong with the database is raised as Away, which says whether something may have been stored. Fronts and the
handlers of reports write the same rows at once: each change locks its row, and looks at it, first. A task and its job are
stored together: the job is a row of the outbox until a front's relay has sent it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from examples.fronts.database import OwnDatabase
from examples.tasks.progress import Job, Progress, Report, Status, merge
from leveret.client import outbox

LEASE = timedelta(seconds=10)  # of a task whose job is being cancelled; to do so once more does no more
AT_ONCE = 20  # tasks that are taken up together
_PROGRESS = "status, run, generation, attempt, step, started_at, finished_at, error"
_TASK = "id, name, kind, seconds, status, error, created_at, started_at, finished_at"


class NotPossible(Exception):
    """A task can't get this status from the one that it has."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"the task is {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Task:
    id: UUID
    name: str
    kind: str
    seconds: float
    status: str
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Left:
    """A task with a job that is wanted no more, or without one that is: run again, or an older front's."""

    id: UUID
    queue: str
    job: UUID | None  # to be cancelled


class Store(OwnDatabase):
    def __init__(self, url: str | None = None, queue: str = "leveret.tasks") -> None:
        super().__init__("tasks", None, url, seconds=10.0)
        self._queues = {"async": queue, "cpu": f"{queue}-cpu"}

    async def add(self, id: UUID, name: str, kind: str, seconds: float) -> Task:
        """Store a task and its job."""
        async with self._connection() as connection, connection.transaction():
            row = await connection.fetchrow(
                f"INSERT INTO tasks (id, name, kind, seconds) VALUES ($1, $2, $3, $4) RETURNING {_TASK}",  # noqa: S608 - a constant
                id, name, kind, seconds,
            )  # fmt: skip
            await self._submit(connection, kind, Job(task=id, run=1, seconds=seconds))
        return Task(*row)

    async def get(self, id: UUID) -> Task | None:
        async with self._connection() as connection:
            row = await connection.fetchrow(f"SELECT {_TASK} FROM tasks WHERE id = $1", id)  # noqa: S608
        return None if row is None else Task(*row)

    async def page(self, status: Status | None, before: UUID | None, limit: int) -> list[Task]:
        """Return so many tasks, the newest first, that are older than `before`."""
        async with self._connection() as connection:
            rows = await connection.fetch(
                f"SELECT {_TASK} FROM tasks WHERE ($1::text IS NULL OR status = $1) "  # noqa: S608
                "AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3",
                status, before, limit,
            )  # fmt: skip
        return [Task(*row) for row in rows]

    async def change(self, id: UUID, name: str | None, status: Status | None) -> Task | None:
        """Rename a task, cancel it or run it again, all or nothing; None for no such task; raise NotPossible."""
        async with self._connection() as connection, connection.transaction():
            row = await connection.fetchrow("SELECT status FROM tasks WHERE id = $1 FOR UPDATE", id)
            if row is None:
                return None
            if status is not None:
                await connection.execute(_statement(Status(row["status"]), status), id)
            row = await connection.fetchrow(
                f"UPDATE tasks SET name = coalesce($2, name) WHERE id = $1 RETURNING {_TASK}", id, name  # noqa: S608
            )  # fmt: skip
        return Task(*row)

    async def claim(self) -> list[Left]:
        """Take up tasks whose turn it is; nobody else takes them up until the lease is over."""
        async with self._connection() as connection:
            rows = await connection.fetch(
                "UPDATE tasks SET next_try = now() + $1 WHERE id IN ("
                "  SELECT id FROM tasks WHERE next_try <= now()"
                "  AND ((status = 'new' AND submitted < run) OR (status = 'cancelled' AND job IS NOT NULL))"
                "  ORDER BY next_try LIMIT $2 FOR UPDATE SKIP LOCKED"
                ") RETURNING id, kind, job",
                LEASE, AT_ONCE,
            )  # fmt: skip
        return [Left(id, self._queues[kind], job) for id, kind, job in rows]  # noqa: A001

    async def cancelled(self, done: Sequence[Left]) -> None:
        """Forget jobs that Leveret knows to be cancelled, and store those that are wanted."""
        async with self._connection() as connection, connection.transaction():
            rows = await connection.fetch(
                "UPDATE tasks SET job = NULL FROM unnest($1::uuid[], $2::uuid[]) AS done (id, job) "
                "WHERE tasks.id = done.id AND tasks.job IS NOT DISTINCT FROM done.job "
                "RETURNING kind, tasks.id AS task, run, seconds, status = 'new' AND submitted < run AS wanted",
                [one.id for one in done], [one.job for one in done],
            )  # fmt: skip
            for kind, task, run, seconds, wanted in rows:
                if wanted:
                    await self._submit(connection, kind, Job(task=task, run=run, seconds=seconds))

    async def _submit(self, connection: Any, kind: str, job: Job) -> None:
        id = await outbox.submit(connection, self._queues[kind], "run-task", job)  # noqa: A001
        await connection.execute("UPDATE tasks SET job = $2, submitted = $3 WHERE id = $1", job.task, id, job.run)

    async def report(self, report: Report) -> bool:
        """Merge a report into its task's row; False for no such task."""
        async with self._connection() as connection, connection.transaction():
            row = await connection.fetchrow(f"SELECT {_PROGRESS} FROM tasks WHERE id = $1 FOR UPDATE", report.task)  # noqa: S608
            if row is None:
                return False
            before = Progress(Status(row["status"]), *list(row)[1:])
            if (after := merge(before, report)) != before:
                await connection.execute(
                    f"UPDATE tasks SET ({_PROGRESS}) = ($2, $3, $4, $5, $6, $7, $8, $9) WHERE id = $1",  # noqa: S608
                    report.task, *asdict(after).values(),
                )  # fmt: skip
        return True

    async def ping(self) -> None:
        async with self._connection() as connection:
            await connection.execute("SELECT FROM tasks LIMIT 0")


def _statement(now: Status, wanted: Status) -> str:
    match now, wanted:
        case Status.NEW | Status.RUNNING, Status.CANCELLED:
            return (  # a job that no relay has taken is nobody's yet
                "WITH unsent AS (DELETE FROM leveret_outbox USING tasks WHERE tasks.id = $1 AND leveret_outbox.id = job "
                "  RETURNING tries) "
                "UPDATE tasks SET status = 'cancelled', finished_at = now(), next_try = now(), "
                "  job = CASE WHEN (SELECT tries FROM unsent) = 0 THEN NULL ELSE job END WHERE id = $1"
            )
        case Status.FAILED | Status.CANCELLED, Status.NEW:
            return (
                "UPDATE tasks SET status = 'new', run = run + 1, generation = 0, attempt = 0, step = 0, error = NULL, "
                "started_at = NULL, finished_at = NULL, next_try = now() WHERE id = $1"
            )
    raise NotPossible(now)
