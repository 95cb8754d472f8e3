"""Long work on the event loop, in slices of a few milliseconds with a turn of the loop for all others between.

A thread doesn't help: what decodes and checks holds Python's lock. What is done within its first slice waits for nobody.
Longer work is done one piece after another, so that however many there are, a turn of the loop has one slice of them.
"""

import asyncio
import time
from collections.abc import Generator
from typing import Generic, TypeVar

SLICE = 0.005  # s

T = TypeVar("T")
Steps = Generator[None, None, T]  # yields where others may have the loop


def at_once(steps: Steps[T]) -> T:
    """Do the work without turns, for who has no loop."""
    work = _Work(steps)
    while not work.slice():
        pass
    return work.result


class Slices:
    def __init__(self) -> None:
        self._one = asyncio.Lock()

    async def run(self, steps: Steps[T]) -> T:
        """Return what the work returns, and raise what it raises."""
        work = _Work(steps)
        if not work.slice():
            async with self._one:
                while not work.slice():  # noqa: ASYNC110 - nothing is waited for: others have their turn
                    await asyncio.sleep(0)
        return work.result


class _Work(Generic[T]):
    result: T

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps

    def slice(self) -> bool:
        """Go on for a moment; return whether it is done."""
        until = time.perf_counter() + SLICE
        try:
            while time.perf_counter() < until:
                next(self._steps)
        except StopIteration as end:
            self.result = end.value
            return True
        return False
