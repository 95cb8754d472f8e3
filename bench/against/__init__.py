"""Today's code beside that of an older commit: what a job or an event costs now, over what it cost then.

Each version has processes, a virtual host and a database of its own, on the same servers. They take turns, so that only
one works at a time, and both meet the same machine.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.measures import Figures


@dataclass(frozen=True, slots=True)
class Done:
    """What a process did in one turn."""

    count: int
    seconds: float
    cpu_seconds: float  # of the process itself: broker and database are the same servers for both
    each: Sequence[float] = ()  # s that each took, where somebody waits for it


def figures(name: str, done: Done) -> Figures:
    """Return `name.rate` in 1/s, `name.cpu` in µs for one, and where each has its time `name.p50` in ms."""
    found = {f"{name}.rate": done.count / done.seconds, f"{name}.cpu": 1e6 * done.cpu_seconds / done.count}
    if done.each:
        found[f"{name}.p50"] = 1e3 * statistics.median(done.each)
    return found
