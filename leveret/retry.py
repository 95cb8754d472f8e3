"""What to do with an attempt that failed: wait and try again, or give up.

The back-off grows exponentially and is drawn at random below its bound ("full jitter"), so that many jobs which
failed together do not come back together. The broker's delays come in levels of 2^k s; a wait between two levels
takes the upper one with just the probability that keeps the mean wait exact. What waits longer than the last level, or was
asked for by the handler itself, waits in the store, to the second: `RetryLater` is never early. So short a wait as the store
can't be in time for is one in the level above it.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from math import floor, log2

LEVELS = 13  # 2^0 … 2^12 s
LONGEST_WAIT = timedelta(seconds=2 ** (LEVELS - 1))  # 4,096 s, in the broker
MOST_ATTEMPTS = 32_767  # attempts are not counted beyond (`leveret.wire.MOST`): with more, none would be the last
LONGEST_IN_LEVEL = timedelta(seconds=2)  # of waits that must not be early: the level above is less than 2 s late
LONGEST_DELAY = timedelta(days=366)  # in the store; a wait beyond it counts as this long


class Jitter(StrEnum):
    FULL = "full"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before attempt n + 1: initial × factor^(n−1), at most `max`."""

    initial: timedelta = timedelta(seconds=1)
    factor: float = 2.0  # >= 1
    max: timedelta = timedelta(minutes=10)
    jitter: Jitter = Jitter.FULL

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise ValueError(f"back-off factor {self.factor} is below 1: waits would shrink; use 1 or more")
        if not timedelta(0) <= self.initial <= self.max:
            raise ValueError(f"back-off must have 0s ≤ initial ≤ max, not initial {self.initial} and max {self.max}")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    max_attempts: int = 5  # >= 1, the first one included
    backoff: Backoff = Backoff()
    retry_on: tuple[type[BaseException], ...] | None = None  # only these are tried again; None: all
    give_up_on: tuple[type[BaseException], ...] = ()  # these are not; they win over `retry_on`

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= MOST_ATTEMPTS:
            raise ValueError(f"max attempts must be 1 to {MOST_ATTEMPTS:,}, not {self.max_attempts:,}")
        _check_classes("retry_on", self.retry_on)
        _check_classes("give_up_on", self.give_up_on)
        if self.retry_on == ():
            raise ValueError("retry_on is empty, so nothing would be tried again: leave it out, or use max_attempts=1")

    def tries_again(self, problem: BaseException) -> bool:
        """Tell whether an attempt that ended by this exception may have another; its subclasses count as it does."""
        if isinstance(problem, self.give_up_on):
            return False
        return self.retry_on is None or isinstance(problem, self.retry_on)


def _check_classes(name: str, classes: object) -> None:
    if classes is None:
        return
    if not isinstance(classes, tuple):
        raise ValueError(f"{name} must be a tuple of exception classes, such as (ValueError,), not {classes!r}")
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise ValueError(f"{name} has {one!r}, which is no exception class")


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Try again when this long has passed."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Every attempt is used up."""


def after_failure(
    policy: RetryPolicy, attempt: int, draw: float, asked: timedelta | None = None
) -> RetryAfter | GiveUp:
    """Return what follows the failure of attempt `attempt` (1…), given `draw`, a random number in [0, 1).

    `asked` is the wait that the handler named itself, in place of the back-off.
    """
    if attempt >= policy.max_attempts:
        return GiveUp()
    if asked is not None:
        return RetryAfter(max(asked, timedelta(0)))
    bound = _bound(policy.backoff, attempt)
    return RetryAfter(bound * draw if policy.backoff.jitter is Jitter.FULL else bound)


def _bound(backoff: Backoff, attempt: int) -> timedelta:
    """min(max, initial × factor^(attempt−1)), without overflow for a large attempt."""
    if backoff.initial <= timedelta(0):
        return timedelta(0)
    if backoff.factor > 1 and attempt - 1 > log2(backoff.max / backoff.initial) / log2(backoff.factor):
        return backoff.max
    return min(backoff.max, backoff.initial * backoff.factor ** (attempt - 1))


def delay_level(delay: timedelta, draw: float) -> int | None:
    """Return k of the level 2^k s that waits for a delay, None for no wait; `draw` is random in [0, 1).

    For 2^k ≤ d < 2^(k+1) the upper level has probability (d − 2^k)/2^k; below 1 s, 1 s has probability d. The expected
    wait is d. At the last level's time and above it is the last level.
    """
    seconds = delay.total_seconds()
    if seconds < 1:
        return 0 if draw < seconds else None
    if delay >= LONGEST_WAIT:
        return LEVELS - 1
    lower = floor(log2(seconds))
    return lower + 1 if draw < (seconds - 2**lower) / 2**lower else lower


def level_above(delay: timedelta) -> int | None:
    """Return the lowest level that waits at least so long, None for no wait; for more than the last level's time the last."""
    return delay_level(delay, draw=0)
