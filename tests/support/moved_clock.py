"""A loop in which nobody waits: where nothing is left to do now, the clock moves on to what comes next."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


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
