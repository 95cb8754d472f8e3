"""The slots of this process and how busy they are: what heartbeats and metrics tell.

A slot is free again when its work has really ended: a thread that outlives its time-out keeps its slot. An attempt that
ended before it had any work, cancelled before its first step perhaps, frees its slot itself.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Finished:
    """Attempts since the start, however they ended."""

    attempts: int = 0
    busy_seconds: float = 0.0


class Slot:
    """One that is taken, by an attempt; from when there is work, it's the work's."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release, self._has_work = release, False

    def give_to(self, ended: "asyncio.Future[Any]") -> None:
        """Free it once the attempt's work has ended."""
        self._has_work = True
        ended.add_done_callback(lambda _: self._release())

    def attempt_ended(self, _: object = None) -> None:
        """Free it now if the attempt never had any work; for the done-callbacks of its task."""
        if not self._has_work:
            self._release()


class Load:
    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.busy = 0  # slots with work in them
        self.held = 0  # deliveries that are not acknowledged, the waiting ones included
        self.finished = Finished()
        self.replies_dropped: Counter[str] = Counter()  # by reason
        self.turned = asyncio.Event()  # idle → busy or busy → idle; whoever looks clears it
        self._free = asyncio.Semaphore(slots)

    async def take(self) -> "Slot":
        """Wait for a free slot and take it, first come, first served."""
        await self._free.acquire()
        self.busy += 1
        return Slot(self._release)

    def _release(self) -> None:
        self.busy -= 1
        self._free.release()

    def hold(self) -> None:
        self.held += 1
        if self.held == 1:
            self.turned.set()

    def let_go(self) -> None:
        self.held -= 1
        if self.held == 0:
            self.turned.set()

    def dropped(self, reason: str, _: str = "") -> None:
        """Count a reply that was dropped; there is one queue."""
        self.replies_dropped[reason] += 1

    def count(self, seconds: float) -> None:
        """Note an attempt that ended."""
        self.finished.attempts += 1
        self.finished.busy_seconds += seconds
