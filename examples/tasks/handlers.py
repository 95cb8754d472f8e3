"""Service B: the handlers of the JobQueues `tasks`, on the event loop, and `tasks-cpu`, in processes of their own.

Each tells service A of its start, its end and its error by a job of A's JobQueue, and waits until Leveret has stored it: what
was told can't be lost, and where it can't be told the attempt has failed, and is tried again. An attempt that is killed tells
nothing; of the last one A learns by its dead letter.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import cache
from weakref import WeakKeyDictionary

from examples.tasks.progress import Job, Report, Step
from leveret import Context, Handlers
from leveret.client import AsyncClient, Client, Patience

handlers, cpu_handlers = Handlers(), Handlers()
PATIENCE = Patience(timeout=50)  # two reports and 3,600 s are less than the JobQueues' time-out

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncClient] = WeakKeyDictionary()


@handlers.job("run-task")
async def run(ctx: Context, job: Job) -> None:
    loop = asyncio.get_running_loop()
    client = _clients.get(loop) or _clients.setdefault(loop, AsyncClient(patience=PATIENCE))

    async def tell(report: Report) -> None:
        await client.submit(_status_queue(), "task-status", report)

    async with told(ctx, job, tell):
        await asyncio.sleep(job.seconds)


@cpu_handlers.job("run-task", cpu=True)
def compute(ctx: Context, job: Job) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, 10)  # this consumer's loop, and its heartbeats, come first
    with told_from_a_process(ctx, job, lambda report: _client().submit(_status_queue(), "task-status", report)):
        end = time.monotonic() + job.seconds
        while time.monotonic() < end:
            pass


@asynccontextmanager
async def told(ctx: Context, job: Job, tell: Callable[[Report], Awaitable[object]]) -> AsyncIterator[None]:
    """Tell what becomes of the block; `told_from_a_process` is the same where there is no event loop."""
    began = _now()
    await tell(_report(ctx, job, Step.STARTED, began))
    try:
        yield
    except Exception as problem:
        await tell(_report(ctx, job, Step.RAISED, began, problem))
        raise
    await tell(_report(ctx, job, Step.DONE, began))


@contextmanager
def told_from_a_process(ctx: Context, job: Job, tell: Callable[[Report], object]) -> Iterator[None]:
    began = _now()
    tell(_report(ctx, job, Step.STARTED, began))
    try:
        yield
    except Exception as problem:
        tell(_report(ctx, job, Step.RAISED, began, problem))
        raise
    tell(_report(ctx, job, Step.DONE, began))


def _report(ctx: Context, job: Job, step: Step, began: datetime, problem: Exception | None = None) -> Report:
    return Report(
        task=job.task,
        run=job.run,
        generation=ctx.generation,
        attempt=ctx.attempt,
        step=step,
        started_at=began,
        finished_at=_now() if step is Step.DONE else None,
        error=f"{type(problem).__name__}: {problem}" if problem else None,
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _status_queue() -> str:
    return os.environ.get("TASKS_STATUS_QUEUE", "leveret.tasks-status")


@cache
def _client() -> Client:
    return Client(patience=PATIENCE)
