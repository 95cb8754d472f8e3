"""Loops whose clock is moved: by the test, or on to what comes next, where nothing is left to do now."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def move_clock(loop: Any) -> Callable[[float], None]:
    """Return what moves the clock of this loop on by so many seconds."""
    true, ahead = loop.time, [0.0]
    loop.time = lambda: true() + ahead[0]

    def move(seconds: float) -> None:
        ahead[0] += seconds

    return move


async def turns(count: int = 20) -> None:
    """Let everybody go on who can."""
    for _ in range(count):
        await asyncio.sleep(0)


class MovedClock(asyncio.SelectorEventLoop):
    """For what has no network: sleeping, time-outs and `time()` go by it."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._look: Any = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._skip  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now

    def _skip(self, seconds: float | None = None) -> Any:
        found = self._look(0)
        if not found:
            assert seconds is not None, "all wait, and for nothing that will come"
            self._now += seconds
        return found


def with_moved_clock(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=MovedClock) as runner:
        return runner.run(work)
