"""One clock for the process: UTC that never jumps.

Windows and ages are differences of these times; a correction of the machine's clock must not end or stretch them.
"""

import time
from datetime import UTC, datetime, timedelta


class SteadyClock:
    """Starts at the wall clock's time and goes on with the monotonic one."""

    def __init__(self) -> None:
        self._start, self._began = datetime.now(UTC), time.monotonic()

    def __call__(self) -> datetime:
        return self._start + timedelta(seconds=time.monotonic() - self._began)
