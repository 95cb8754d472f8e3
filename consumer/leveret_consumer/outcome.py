"""What an exception or a result means, and what becomes of the message: exactly one of eight outcomes, from values alone.

First an end. It is told where the exception is, in the thread or process that ran the handler, with isinstance and in this
one place.

Then an outcome. An attempt that ended well is a result; one that failed is tried again by its policy, from a delay level of
the broker or, after a longer wait or one that the handler asked for, from the store, or given up; a message whose sender
asked for a later time waits for it in the store; a message that no attempt could ever do right is a dead letter at
once, unless a consumer of another version has to say so: then it is given back (`present_version`). No attempt starts or
goes on after the job's deadline, and none is planned beyond it: such a job is dead, and a dead letter only if nobody waits
for its reply.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from leveret import retry
from leveret.delays import not_before
from leveret.durations import format_duration
from leveret.events import Error
from leveret.jobs import DeadReason, Envelope
from leveret.reply import may_reply_to
from leveret.retry import GiveUp, RetryPolicy
from leveret.sdk.commit import Mark
from leveret.sdk.follow_ups import FollowUp
from leveret.sdk.retry import Reject, RetryLater
from leveret.wire import as_time
from leveret_consumer.ends import (
    FAILED,
    TIMED_OUT,
    Cancelled,
    DeadLetter,
    Deferred,
    End,
    Failed,
    Failure,
    Outcome,
    Postponed,
    Refused,
    RetryAfter,
    RetryFromStore,
    Succeeded,
    Unkept,
    cut_message,
    error_of,
)

E = TypeVar("E", bound=bytes | Failure | Cancelled)
LARGEST_RESULT = 256 * 1024  # bytes of JSON
Judge = Callable[[Envelope, DeadLetter], Outcome]  # what becomes of a message that is a dead letter as seen from here


class ResultTooLarge(ValueError):
    """A result above 256 KiB of JSON."""


class TooLate(Exception):
    """A handler does not start, because the job's deadline has passed."""

    def __init__(self, deadline: datetime) -> None:
        super().__init__(
            f"the job's deadline, {as_time(deadline)}, passed before this attempt; the handler was not started"
        )


def checked(result: bytes) -> bytes:
    """Return the result, JSON, as it is; raise ResultTooLarge."""
    if len(result) > LARGEST_RESULT:
        raise ResultTooLarge(
            f"the result is {len(result):,} bytes of JSON, and at most {LARGEST_RESULT:,} are kept: store it somewhere "
            "and return where it is"
        )
    return result


def by_mark(end: E, mark: Mark | None) -> E | bytes:
    """Return how an attempt ended, or that it is cancelled, in view of its job's done-mark, None where none is committed.

    What is committed is done, whatever came after it: another attempt could neither do it again nor take it back. The mark's
    result is the same in each run. What a handler returned instead is known to its own run alone.
    """
    if mark is None or (isinstance(end, bytes) and mark.result is None and not mark.earlier):
        return end
    return b"null" if mark.result is None else mark.result


def follow_ups(end: End | Cancelled, mark: Mark | None, submitted: tuple[FollowUp, ...]) -> tuple[FollowUp, ...]:
    """Return the follow-ups of a run: those that are committed, and those beside the transaction if the handler succeeded."""
    beside = submitted if isinstance(end, bytes) else ()
    return mark.follow_ups + beside if mark else beside


def failure_of(problem: BaseException, policy: RetryPolicy | None) -> Failure:
    """Return the end of a run that raised; `policy` is the handler's own, None without one: a JobQueue's has no classes."""
    match problem:
        case Reject():
            return Refused(_said(problem, DeadReason.REJECTED), DeadReason.REJECTED)
        case RetryLater():
            return Postponed(_said(problem, FAILED), problem.after)
        case TooLate():
            return _refused_too_late(str(problem))
        case _:
            return _by_class(problem, error_of(problem), policy)


def not_started(problem: BaseException) -> Failed:
    """Return the end of an attempt for which there was no thread or process: no exception of the handler's, so no class."""
    error = error_of(problem)
    message = f"the handler could not be started ({error.type}: {error.message}); the attempt counts as failed"
    return Failed(msgspec.structs.replace(error, message=message))


def timed_out(limit: timedelta, policy: RetryPolicy | None) -> Failure:
    """Return the end of an attempt that took too long: a TimeoutError to the policy's classes."""
    problem = TimeoutError(f"the attempt was not done within its time-out of {format_duration(limit)}")
    return _by_class(problem, Error(reason=TIMED_OUT, type="TimeoutError", message=str(problem)), policy)


def stopped_at(deadline: datetime) -> Refused:
    """Return the end of an attempt that ran until the job's deadline: no policy has another one after it."""
    return _refused_too_late(f"the attempt was not done by the job's deadline, {as_time(deadline)}, and was stopped")


def _refused_too_late(message: str) -> Refused:
    return Refused(Error(DeadReason.DEADLINE_EXCEEDED, message), DeadReason.DEADLINE_EXCEEDED)


def interrupted(policy: RetryPolicy | None) -> Failure:
    """Return the end of a coroutine that was cancelled, and not by us."""
    problem = asyncio.CancelledError("the handler ended by a cancellation that was not asked for")
    return _by_class(problem, Error(reason=FAILED, type="CancelledError", message=str(problem)), policy)


def _by_class(problem: BaseException, error: Error, policy: RetryPolicy | None) -> Failure:
    if policy is None or policy.tries_again(problem):
        return Failed(error)
    return Refused(msgspec.structs.replace(error, reason=DeadReason.GAVE_UP), DeadReason.GAVE_UP)


def _said(problem: BaseException, reason: str) -> Error:
    """What a handler said on purpose needs no traceback, unless another exception led to it."""
    error = error_of(problem, reason)
    cause = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)
    return error if cause else msgspec.structs.replace(error, traceback=None)


class Draws(msgspec.Struct, frozen=True):
    """Two random numbers in [0, 1): one for the jitter, one for the level."""

    jitter: float
    level: float


def after_attempt(
    end: bytes | Failure, policy: RetryPolicy, attempt: int, draws: Draws, follow_ups: tuple[FollowUp, ...] = ()
) -> Outcome:
    """Return what follows the end of attempt `attempt` (1…)."""
    match end:
        case bytes():
            return Succeeded(end, follow_ups)
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
