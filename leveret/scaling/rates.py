"""How many jobs a second and how long each, from counts that arrive in lumps.

A meter keeps what was counted in the last 15 s. A meter that has not listened for that long divides by the time it has
listened, and says nothing in its first 5 s: consumers report every 5 s.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

WINDOW = timedelta(seconds=15)
SETTLING = timedelta(seconds=5)
REMEMBERED = 1_000  # attempts: of so many a mean is, the older ones counting less and less


@dataclass(frozen=True, slots=True)
class Meter:
    since: datetime  # when it began to listen
    counted: tuple[tuple[datetime, int], ...] = ()


def count(meter: Meter, jobs: int, now: datetime) -> Meter:
    """Return the meter with so many more jobs."""
    kept = tuple(entry for entry in meter.counted if now - entry[0] < WINDOW)
    return Meter(meter.since, (*kept, (now, jobs)) if jobs > 0 else kept)


def rate(meter: Meter, now: datetime) -> float | None:
    """Return jobs a second over the window; None while the meter is too young to tell."""
    listened = min(now - meter.since, WINDOW)
    if listened < SETTLING:
        return None
    jobs = sum(jobs for at, jobs in meter.counted if now - at < WINDOW)
    return jobs / listened.total_seconds()


def drain_seconds(backlog: int | None, arrivals: float | None, completions: float | None) -> float | None:
    """Return how long the backlog lasts at these rates; None where it doesn't shrink or that can't be told."""
    if backlog == 0:
        return 0.0
    if backlog is None or completions is None or arrivals is None or completions <= arrivals:
        return None
    return backlog / (completions - arrivals)


@dataclass(frozen=True, slots=True)
class Mean:
    """Of the last attempts, however long ago they were."""

    attempts: float = 0.0
    seconds: float = 0.0

    @property
    def value(self) -> float | None:
        """Seconds an attempt; None while there was none."""
        return self.seconds / self.attempts if self.attempts else None


NO_RUNS = Mean()


def average(mean: Mean, attempts: int, seconds: float) -> Mean:
    """Return the mean with so many more attempts, which took so many seconds together."""
    if attempts <= 0 or seconds < 0:
        return mean
    of, together = mean.attempts + attempts, mean.seconds + seconds
    kept = min(1.0, REMEMBERED / of)
    return Mean(of * kept, together * kept)
