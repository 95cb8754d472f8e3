"""One run of a handler, whatever it runs on.

A pool turns whatever a handler does into a value: its result as JSON, or a `Failure`. So nothing that a handler
raises, `SystemExit` included, reaches the loop.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ParamSpec, Protocol, TypeVar

from leveret.jobs import Envelope
from leveret.sdk.context import Context
from leveret.sdk.handlers import Handler
from leveret_consumer.ends import End

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Call:
    handler: Handler
    context: Context
    payload: object  # as the handler takes it
    job: Envelope  # whose body is the same as JSON
    # Asked when the handler starts, and raises what keeps it from that; without it the context's own holds.
    deadline: Callable[[], datetime] | None = None

    def begin(self) -> Context:
        """Return the context of a handler that starts now."""
        return replace(self.context, deadline=self.deadline()) if self.deadline else self.context


@dataclass(frozen=True, slots=True)
class Work:
    """`ended` is done when nothing of the run is left; `stop` asks for that, where it's possible."""

    ended: asyncio.Future[End]
    stop: Callable[[], object] | None  # None: a thread can't be stopped


class WorkPool(Protocol):
    async def start(self, call: Call) -> Work:
        """Start a run; return when it has started."""
        ...

    def close(self) -> None:
        """Let go of what the pool holds, without waiting for what still runs."""
        ...


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
