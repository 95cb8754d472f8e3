"""What the demo knows at one moment, as values: all that is drawn comes from here.

A number that is not known is None, and is drawn as a gap or a dash, never as 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from leveret.jobs import FINAL, State

RATE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class JobSeen:
    """One of our jobs, as it was last seen."""

    kind: str
    state: State = State.ACCEPTED
    attempt: int = 0  # 1…; 0 before the first


@dataclass(frozen=True, slots=True)
class Decision:
    time: datetime
    before: int
    after: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of the curves."""

    at: float  # seconds since the first list was submitted
    finished: int
    backlog: int | None = None
    replicas: int | None = None
    desired: int | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of the jobs are in which state, and how many attempts came after a first one."""

    waiting: int = 0
    running: int = 0
    retrying: int = 0
    succeeded: int = 0
    dead: int = 0
    retries: int = 0

    @property
    def total(self) -> int:
        return self.waiting + self.running + self.retrying + self.succeeded + self.dead

    @property
    def finished(self) -> int:
        return self.succeeded + self.dead


@dataclass(frozen=True, slots=True)
class Snapshot:
    queue: str
    began: datetime
    elapsed: float  # seconds
    tally: Tally
    samples: tuple[Sample, ...] = ()  # oldest first
    decisions: tuple[Decision, ...] = ()  # oldest first, since the beginning
    trouble: str | None = None  # why the numbers are not fresh

    @property
    def done(self) -> bool:
        return self.tally.finished == self.tally.total

    @property
    def last(self) -> Sample:
        return self.samples[-1] if self.samples else Sample(0.0, 0)


def tally(jobs: Mapping[str, JobSeen]) -> Tally:
    """Count jobs by state. A retrying job's next attempt is not made yet, so it is not counted as a retry."""
    states = [job.state for job in jobs.values()]
    return Tally(
        waiting=states.count(State.ACCEPTED) + states.count(State.QUEUED),
        running=states.count(State.RUNNING),
        retrying=states.count(State.RETRYING),
        succeeded=states.count(State.SUCCEEDED),
        dead=states.count(State.DEAD),
        retries=sum(max(0, job.attempt - 1) for job in jobs.values()),
    )


def is_final(job: JobSeen) -> bool:
    return job.state in FINAL


def rate(samples: tuple[Sample, ...], now: float) -> float | None:
    """Return how many jobs were finished a second lately: over 5 s, or between the last two samples if those lie further apart.

    None with less than two samples, or if the last one is older than that.
    """
    if len(samples) < 2 or now - samples[-1].at > RATE_SECONDS:
        return None
    recent = [sample for sample in samples if sample.at >= now - RATE_SECONDS]
    window = recent if len(recent) >= 2 else samples[-2:]
    if window[-1].at <= window[0].at:
        return None
    return (window[-1].finished - window[0].finished) / (window[-1].at - window[0].at)


def rates(samples: tuple[Sample, ...]) -> tuple[float | None, ...]:
    """Return the rate at each sample."""
    return tuple(rate(samples[: n + 1], sample.at) for n, sample in enumerate(samples))
