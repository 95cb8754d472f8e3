"""Where handlers run: on the event loop, in threads, or in processes (`pools.processes`).

A pool turns whatever a handler does into a value: its result as JSON, or a `Failure`. So nothing that a handler
raises, `SystemExit` included, reaches the loop.
"""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import ParamSpec, Protocol, TypeVar, cast
from uuid import UUID

import msgspec

from leveret.jobs import Envelope
from leveret.sdk.commit import NO_TRANSACTION_IN_A_PROCESS, Commit
from leveret.sdk.context import Context, JobLog, ReportProgress
from leveret.sdk.handlers import BadPayload, Handler, Pool
from leveret_consumer.ends import End, Unfit
from leveret_consumer.exits import EXITS, contain
from leveret_consumer.job_events import log_fields
from leveret_consumer.outcome import checked, failure_of

P = ParamSpec("P")
R = TypeVar("R")
_log = logging.getLogger("leveret.handler")


def context_of(
    job: Envelope,
    max_attempts: int,
    deadline: datetime,
    report_progress: ReportProgress,
    commit: Commit,
    **fields: str | int,
) -> Context:
    """Return what a handler is given; its log lines carry `fields`, too."""
    return Context(
        job_id=job.id,
        queue=job.queue,
        type=job.type,
        attempt=job.attempt,
        generation=job.generation,
        max_attempts=max_attempts,
        delivery=job.delivery,
        deadline=deadline,
        submitted_at=job.submitted_at,
        dead_letter=job.dead_letter,
        log=JobLog(_log, partial(log_fields, job, **fields)),
        report_progress=report_progress,
        commit=commit,
    )


def commit_of(handler: Handler) -> Commit:
    """Return what a handler's transaction may do."""
    refused = NO_TRANSACTION_IN_A_PROCESS if handler.pool is Pool.PROCESS else None
    return Commit(lambda value: checked(handler.write(value)), refused)


class Call(msgspec.Struct, frozen=True):
    handler: Handler
    context: Context
    job: Envelope
    begun: Callable[[], object]  # to be called, in any thread, once the payload is read and the handler starts
    # Asked when the handler starts, and raises what keeps it from that; without it the context's own holds.
    deadline: Callable[[], datetime] | None = None

    def begin(self) -> Context:
        """Return the context of a handler that starts now; raise TooLate if it must not."""
        return replace(self.context, deadline=self.deadline()) if self.deadline else self.context


class Work(msgspec.Struct, frozen=True):
    """`done` is it when nothing of the run is left; `stop` asks for that, where it's possible."""

    done: asyncio.Future[End]
    stop: Callable[[], object] | None  # None: a thread can't be stopped


class WorkPool(Protocol):
    async def start(self, call: Call) -> Work:
        """Start a run; return when it has started."""
        ...

    def close(self) -> None:
        """Let go of what the pool holds, without waiting for what still runs."""
        ...


class LoopPool:
    """Handlers that are `async def`: a task each, on the process's own event loop."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[End], UUID] = {}

    async def start(self, call: Call) -> Work:
        task = asyncio.create_task(_run_on_loop(call))
        self._running[task] = call.context.job_id
        task.add_done_callback(self._forget)
        return Work(done=task, stop=task.cancel)

    def jobs(self) -> list[str]:
        """Return the ids of the jobs that are on the loop; may be called in any thread."""
        return [str(job) for job in list(self._running.values())]

    def close(self) -> None:
        pass

    def _forget(self, task: asyncio.Task[End]) -> None:
        self._running.pop(task, None)


async def _run_on_loop(call: Call) -> End:
    handler = call.handler
    contain(call.context.job_id)
    try:
        payload = handler.read(call.job.body)
    except BadPayload as problem:
        return Unfit(problem.reason, str(problem))
    try:
        context = call.begin()
        call.begun()
        result = await cast(Awaitable[object], handler.function(context, payload))
        return checked(handler.write(result))
    except (Exception, *EXITS) as problem:  # noqa: BLE001 - sys.exit() in a task would end the loop and all jobs
        return failure_of(problem, handler.retry)


class ThreadPool:
    """Handlers that are plain `def`: a thread each.

    Python can't stop a thread. One that outlives its time-out goes on, with its slot, until it ends or the process does.
    """

    def __init__(self, slots: int, executor: Executor | None = None) -> None:
        self._executor = executor or ThreadPoolExecutor(slots, thread_name_prefix="handler")

    async def start(self, call: Call) -> Work:
        context = contextvars.copy_context()
        return Work(done=submit(self._executor, context.run, _run_in_thread, call), stop=None)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


def _run_in_thread(call: Call) -> End:
    handler = call.handler
    try:
        payload = handler.read(call.job.body)
    except BadPayload as problem:
        return Unfit(problem.reason, str(problem))
    try:
        context = call.begin()
        call.begun()
        return checked(handler.write(handler.function(context, payload)))
    except BaseException as problem:  # noqa: BLE001 - SystemExit in a thread is a failed attempt too
        return failure_of(problem, handler.retry)


def submit(
    executor: Executor, function: Callable[P, R], *arguments: P.args, **options: P.kwargs
) -> "asyncio.Future[R]":
    """Run a function in one of an executor's threads; raise if there is none to be had, and then it never runs.

    A ThreadPoolExecutor that can't start a thread keeps what it was given, and runs it when another thread is free: a
    handler would run for an attempt that counts as failed. So whether it runs is settled by a future of our own.
    """
    future: Future[R] = Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = function(*arguments, **options)
        except BaseException as problem:  # noqa: BLE001 - as an executor does
            future.set_exception(problem)
        else:
            future.set_result(result)

    try:
        executor.submit(run)
    except BaseException:
        if future.cancel():
            raise
    return asyncio.wrap_future(future)
