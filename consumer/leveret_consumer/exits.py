"""`sys.exit()` and Ctrl-C's exception, raised by a handler's code anywhere on the loop, end neither the loop nor other jobs.

asyncio raises both out of the loop when a task or a callback does. A handler's own coroutine is guarded by its pool. What
it starts is guarded here: a task ends by the exception, which whoever awaits it meets, and nothing else does
(`contain`). A callback, which nobody awaits, does interrupt the loop: it is run on from where it was (`run`).
"""

import asyncio
import signal
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from typing import Any, TypeVar
from uuid import UUID

import structlog

log = structlog.get_logger(__name__)

EXITS = (SystemExit, KeyboardInterrupt)

T = TypeVar("T")
_job: ContextVar[UUID | None] = ContextVar("job", default=None)  # whose handler the present task is, or was started by


def contain(job: UUID) -> None:
    """Have the exits of the tasks that the present one starts, and of those that they start, be theirs alone."""
    _job.set(job)
    loop = asyncio.get_running_loop()
    if loop.get_task_factory() is None:  # else it is the user's own
        loop.set_task_factory(_task)


def run(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end, whatever exits in a callback meanwhile."""
    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except EXITS as problem:
            # Until there is a handler for the signal, Ctrl-C is what it says.
            if task.done() or signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                raise
            log.error("a callback of a handler tried to end the process; it goes on", exc_info=problem)


def _task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> "asyncio.Task[Any]":
    return asyncio.Task(coro if _job.get() is None else _Contained(coro), loop=loop, **options)


class _Contained(Coroutine[Any, Any, T]):
    """A coroutine whose exits don't leave its task."""

    def __init__(self, coro: Coroutine[Any, Any, T]) -> None:
        self._coro: Coroutine[Any, Any, Any] = coro

    def send(self, value: Any) -> Any:
        try:
            return self._coro.send(value)
        except EXITS as problem:
            return self._end(problem)

    def throw(self, *problem: Any) -> Any:
        try:
            return self._coro.throw(*problem)
        except EXITS as raised:
            return self._end(raised)

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coro.__await__()

    def __getattr__(self, name: str) -> Any:
        """What shows a task's stack and name asks for the coroutine's own."""
        return getattr(self._coro, name)

    def _end(self, problem: BaseException) -> Any:
        """End the task as asyncio does, and raise nothing: the task is done, and its coroutine is never resumed."""
        task = asyncio.current_task()
        assert task is not None
        log.warning("a task of a handler ended by an exit", job=str(_job.get()), exit=repr(problem))
        asyncio.Future.set_exception(task, problem)
        self._coro = _never()
        return self._coro.send(None)


async def _never() -> None:
    await asyncio.get_running_loop().create_future()
