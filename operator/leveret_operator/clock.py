"""One clock for the process: UTC that never jumps.

Windows and ages are differences of these times; a correction of the machine's clock must not end or stretch them. The
time that a machine sleeps counts: when a laptop wakes up, what was known is old, and what is written has the right time.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def awake_or_asleep() -> float:
    """Return seconds since some moment, those included in which the machine slept where it can tell (Linux)."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class SteadyClock:
    """Starts at the wall clock's time and goes on with one that nobody sets."""

    def __init__(self, seconds: Callable[[], float] = awake_or_asleep) -> None:
        self._seconds = seconds
        self._start, self._began = datetime.now(UTC), seconds()

    def __call__(self) -> datetime:
        return self._start + timedelta(seconds=self._seconds() - self._began)
