"""What becomes of a message: exactly one of seven outcomes, decided from values alone.

An attempt that ended well is a result; one that failed is tried again by its policy, from a delay level of the broker
or, after a longer wait or one that the handler asked for, from the store, or given up; a message whose sender asked for a
later time waits for it in the store; a message that no attempt could ever do right is a dead letter at
once, unless a consumer of another version has to say so: then it is given back (`present_version`). No attempt starts or
goes on after the job's deadline, and none is planned beyond it: such a job is dead, and a dead letter only if nobody waits
for its reply.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from leveret import retry
from leveret.delays import not_before
from leveret.events import Error
from leveret.jobs import DeadReason, Envelope
from leveret.reply import may_reply_to
from leveret.retry import GiveUp, RetryPolicy
from leveret.wire import as_time
from leveret_consumer.ends import End, Failed, Postponed, Refused, TooLate
from leveret_consumer.failures import cut_message


@dataclass(frozen=True, slots=True)
class Succeeded:
    result: bytes  # JSON


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """The next attempt starts when the delay level's time has passed."""

    level: int | None  # 2^level s; None: at once
    error: Error

    @property
    def wait(self) -> timedelta:
        return timedelta(0) if self.level is None else timedelta(seconds=2**self.level)


@dataclass(frozen=True, slots=True)
class RetryFromStore:
    """The wait is above the last level, or must not be early: the store publishes the next attempt then, and no copy waits."""

    wait: timedelta
    error: Error


@dataclass(frozen=True, slots=True)
class DeadLetter:
    reason: DeadReason
    error: Error


@dataclass(frozen=True, slots=True)
class Unkept:
    """Dead by its deadline, and no dead letter: the reply tells whoever waits for it, and nobody would redrive it."""

    error: Error


@dataclass(frozen=True, slots=True)
class GivenBack:
    """No attempt was started: the message comes again, as the same attempt, when the delay level's time has passed."""

    level: int  # 2^level s
    since: datetime  # the first time
    error: Error  # what it would be a dead letter for

    @property
    def wait(self) -> timedelta:
        return timedelta(seconds=2**self.level)


@dataclass(frozen=True, slots=True)
class Deferred:
    """No attempt was started: its sender asked for a time, and the store publishes it then."""

    until: datetime


Outcome = Succeeded | RetryAfter | RetryFromStore | DeadLetter | Unkept | GivenBack | Deferred


@dataclass(frozen=True, slots=True)
class Draws:
    """Two random numbers in [0, 1): one for the jitter, one for the level."""

    jitter: float
    level: float


def after_attempt(end: End, policy: RetryPolicy, attempt: int, draws: Draws) -> Outcome:
    """Return what follows the end of attempt `attempt` (1…)."""
    match end:
        case bytes():
            return Succeeded(end)
        case Refused(error, reason):
            return DeadLetter(reason, error)
        case Failed(error):
            following = retry.after_failure(policy, attempt, draws.jitter)
            return _again(error, following, retry.LONGEST_WAIT, draws.level)
        case Postponed(error, wait):  # the level above, whatever is drawn: it is not to be early
            following = retry.after_failure(policy, attempt, draws.jitter, wait)
            return _again(error, following, retry.LONGEST_IN_LEVEL, 0)


def _again(error: Error, following: retry.RetryAfter | GiveUp, longest_in_level: timedelta, draw: float) -> Outcome:
    if isinstance(following, GiveUp):
        given_up = msgspec.structs.replace(error, reason=DeadReason.ATTEMPTS_EXHAUSTED)
        return DeadLetter(DeadReason.ATTEMPTS_EXHAUSTED, given_up)
    if following.delay > longest_in_level:
        return RetryFromStore(min(following.delay, retry.LONGEST_DELAY), error)
    return RetryAfter(retry.delay_level(following.delay, draw), error)


def asked_to_wait(headers: Mapping[str, object], now: datetime) -> datetime | DeadLetter | None:
    """Return the time before which a message's sender doesn't want it to run, None for at once."""
    try:
        return not_before(headers, now)
    except ValueError as problem:
        return unreadable(DeadReason.INVALID_DELAY, cut_message(str(problem)))


def too_late(job: Envelope, now: datetime) -> DeadLetter | Unkept | None:
    """Return the outcome of a job whose deadline has passed, None if it may start."""
    if job.deadline is None or now < job.deadline:
        return None
    return _past_deadline(job, Error(DeadReason.DEADLINE_EXCEEDED, str(TooLate(job.deadline))))


def by_deadline(outcome: Outcome, job: Envelope, now: datetime) -> Outcome:
    """Return what an attempt's outcome is in view of the job's deadline: a retry that would be due then or later is none."""
    match outcome:
        case RetryAfter(_, error) | RetryFromStore(_, error) if job.deadline and now + outcome.wait >= job.deadline:
            because = (
                f"attempt {job.attempt} failed, and the next would be after the job's deadline, {as_time(job.deadline)}"
            )
            message = f"{because}: {error.message}"
            late = msgspec.structs.replace(error, reason=DeadReason.DEADLINE_EXCEEDED, message=cut_message(message))
            return _past_deadline(job, late)
        case Deferred(until) if job.deadline and until >= job.deadline:
            message = (
                f"its sender asked for it to run at {as_time(until)}, not before its deadline, {as_time(job.deadline)}"
            )
            return _past_deadline(job, Error(DeadReason.DEADLINE_EXCEEDED, message))
        case DeadLetter(DeadReason.DEADLINE_EXCEEDED, error):
            return _past_deadline(job, error)
        case _:
            return outcome


def _past_deadline(job: Envelope, error: Error) -> DeadLetter | Unkept:
    told = job.reply_to is not None and may_reply_to(job.reply_to)
    return Unkept(error) if told else DeadLetter(DeadReason.DEADLINE_EXCEEDED, error)


def delivered_too_often(delivery: int, limit: int) -> DeadLetter | None:
    """Return the outcome of a job that was delivered `delivery` times before, None if `limit` allows another run."""
    if delivery < limit:
        return None
    return unreadable(
        DeadReason.DELIVERY_LIMIT,
        f"{_times(delivery)} a consumer took the job and did not bring it to an end, and the delivery limit is {limit}: the "
        "job may end its consumer's process (a crash, or more memory than the container has), or the consumers were "
        "killed while it ran; it was not started again",
    )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def unreadable(reason: DeadReason, detail: str) -> DeadLetter:
    """Return the outcome of a message that can't be run as it is, now or later."""
    return DeadLetter(reason, Error(reason=reason, message=detail))
