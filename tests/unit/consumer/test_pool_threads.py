"""What is handed to threads when there are none left to be had."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import pytest

from leveret_consumer.pools import submit


class NoThreads(Executor):
    """As a ThreadPoolExecutor that can't start a thread: it keeps what it was given, and raises."""

    def __init__(self, *, busy_one_takes_it: bool = False) -> None:
        self.kept: list[Callable[[], object]] = []
        self._taken = busy_one_takes_it

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
        if self._taken:
            function()
        else:
            self.kept.append(function)
        raise RuntimeError("can't start new thread")


async def test_what_could_not_be_submitted_never_runs() -> None:
    ran: list[int] = []
    executor = NoThreads()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        submit(executor, ran.append, 1)
    for later in executor.kept:
        later()
    assert ran == []


async def test_what_another_thread_has_taken_before_the_error_runs_and_is_told() -> None:
    assert await submit(NoThreads(busy_one_takes_it=True), lambda: 7) == 7


async def test_what_it_raises_is_told() -> None:
    def fails() -> None:
        raise SystemExit(3)

    with pytest.raises(RuntimeError, match="can't start new thread"):
        submit(NoThreads(), fails)
    future = submit(NoThreads(busy_one_takes_it=True), fails)
    await asyncio.wait({future})
    assert isinstance(future.exception(), SystemExit)
