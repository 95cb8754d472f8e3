"""Which job has run how often, and when: a file that the worker and the measuring process both have mapped.

Noting a run is two writes to memory, the same for every library, with no system call in which a thread would lose its turn.
"""

import mmap
import time
from pathlib import Path


class Ledger:
    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            whole = memoryview(mmap.mmap(file.fileno(), 0))
        times = len(whole) // 9 * 8  # bytes: a time of the monotonic clock for each job, then a count for each
        self._times, self._runs = whole[:times].cast("d"), whole[times:]

    @classmethod
    def create(cls, path: Path, jobs: int) -> "Ledger":
        path.write_bytes(bytes(9 * jobs))
        return cls(path)

    def ran(self, number: int) -> None:
        """Note that a job has run."""
        self._times[number] = time.monotonic()
        self._runs[number] += 1

    def times(self, jobs: slice) -> list[float]:
        """Return when jobs ran last, the earliest first."""
        return sorted(self._times[jobs])

    def counts(self, jobs: slice = slice(None)) -> bytes:
        """Return how often each has run."""
        return bytes(self._runs[jobs])
