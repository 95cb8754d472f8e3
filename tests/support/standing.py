"""Find a loop that stands: nobody is answered while one callback runs.

Of each callback its thread's processor time counts, so neither other processes nor a machine below this one are blamed. If
the thread slept within it, what passed counts, less what it waited for a processor: so whoever blocks is found, too. A
thread looks where a callback is that takes long; what holds Python's lock all the while is seen as it lets it go. As in a
producer that has started, the garbage collector leaves alone what was there before.
"""

import asyncio
import gc
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any

import pytest

LONGEST = 0.05  # s
TRIES = 9
_APART = 0.2  # s between two tries, so that what slows one may be over by the next
LOOK_EVERY = 0.01  # s
_SHOWN = 6  # frames


@dataclass
class Standing:
    """The longest callback of a block."""

    seconds: float = 0.0
    where: str = ""
    _began: float | None = None  # the present callback
    _seen: tuple[tuple[str, int, str, None], ...] = ()
    _over: threading.Event = field(default_factory=threading.Event)

    def time(self, run: Callable[[Any], None], handle: asyncio.Handle) -> None:
        what, self._seen, self._began = repr(handle), (), time.perf_counter()
        slept, ready, began, worked = _times_asleep(), _ready(), time.perf_counter(), time.thread_time()
        try:
            run(handle)
        finally:
            took, self._began = time.thread_time() - worked, None
            passed = time.perf_counter() - began
            if slept != _times_asleep():  # it blocked, or waited for Python's lock
                took = max(took, passed - (_ready() - ready))
            if took > self.seconds:
                self.seconds, self.where = took, "".join(traceback.format_list(self._seen)) or what

    def look(self, thread: int) -> None:
        while not self._over.wait(LOOK_EVERY):
            began = self._began
            if began is not None and time.perf_counter() - began > 2 * LOOK_EVERY and not self._seen:
                stack = traceback.walk_stack(sys._current_frames()[thread])  # no file is read: the callback would go on
                seen = [(one.f_code.co_filename, line, one.f_code.co_name, None) for one, line in islice(stack, _SHOWN)]
                self._seen = tuple(reversed(seen))


@contextmanager
def watched() -> Iterator[Standing]:
    """Time each callback that this thread's loops run within the block."""
    standing, run = Standing(), asyncio.Handle._run
    looker = threading.Thread(target=standing.look, args=(threading.get_ident(),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", lambda handle: standing.time(run, handle))
        gc.collect()
        gc.freeze()
        looker.start()
        try:
            yield standing
        finally:
            standing._over.set()
            looker.join()
            gc.unfreeze()


def _times_asleep() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw if sys.platform == "linux" else 0


def _ready() -> float:
    """Return the seconds for which this thread waited for a processor."""
    told = _told(threading.get_ident())
    return 0.0 if told is None else int(os.pread(told, 100, 0).split()[1]) / 1e9


@cache
def _told(_: int) -> int | None:
    """Where Linux tells how long this thread waited; open as long as the thread runs."""
    try:
        return os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    except OSError:
        return None


async def turns(work: Callable[[], Awaitable[object]], tries: int = TRIES) -> None:
    """Fail if the loop stands for more than 50 ms, each time that the work is done."""
    worst: list[Standing] = []
    for attempt in range(tries):
        if attempt:
            await asyncio.sleep(_APART)
        with watched() as standing:
            await asyncio.create_task(_run(work))
        if standing.seconds <= LONGEST:
            return
        worst.append(standing)
    best = min(worst, key=lambda one: one.seconds)
    raise AssertionError(f"the loop stood for {best.seconds * 1000:.0f} ms, at best, in\n{best.where}")


async def _run(work: Callable[[], Awaitable[object]]) -> None:
    await work()
