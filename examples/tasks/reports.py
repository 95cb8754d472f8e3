"""Service A's handlers, of the JobQueues `tasks-status` and `tasks-cpu-status`: reports, and the dead letters of service B.

While the database is away they are tried again, for hours: nothing is lost, and each merges whenever it comes.
"""

import asyncio
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

from pydantic import ValidationError

from examples.tasks.progress import Job, Report, Step
from examples.tasks.store import Store
from leveret import Context, DeadLetterInfo, Handlers, Reject

handlers = Handlers()

_stores: WeakKeyDictionary[asyncio.AbstractEventLoop, Store] = WeakKeyDictionary()


@handlers.job("task-status", timeout=30)
async def reported(ctx: Context, report: Report) -> None:
    await _keep(ctx, report)


@handlers.job("run-task", timeout=30)
async def died(ctx: Context, job: object) -> None:
    """Take a task's dead letter; whatever the payload is, since that may be why."""
    dead = ctx.dead_letter
    if dead is None:
        raise Reject("this is no dead letter of a task: submit tasks to service B's JobQueues")
    try:
        task = Job.model_validate(job)
    except ValidationError:
        ctx.log.warning("a dead letter is of no task, and is left to Leveret", extra={"dead": str(dead.id)})
        return
    await _keep(ctx, last_word(dead, task, datetime.now(UTC)))


def last_word(dead: DeadLetterInfo, job: Job, now: datetime) -> Report:
    """Return the report that a dead letter stands for; it died `now` where nobody wrote when."""
    return Report(
        task=job.task,
        run=job.run,
        generation=dead.generation,
        attempt=dead.attempts,
        step=Step.DEAD,
        started_at=dead.started_at,
        finished_at=dead.died_at or now,
        error=": ".join(filter(None, (dead.reason, dead.error))) or "unknown",
    )


async def _keep(ctx: Context, report: Report) -> None:
    loop = asyncio.get_running_loop()
    store = _stores.get(loop) or _stores.setdefault(loop, Store())
    if not await store.report(report):
        ctx.log.warning("there is no such task", extra={"task": str(report.task)})
