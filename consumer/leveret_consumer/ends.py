"""How a run of a handler ended, as values that cross threads and the pipes of processes.

Exception classes are looked at where the exception is, in the thread or process that ran the handler, with isinstance
and in this one place. What crosses over is the verdict: a class may not exist on the other side, a verdict always does.
"""

import asyncio
from datetime import datetime, timedelta

import msgspec

from leveret.durations import format_duration
from leveret.events import Error
from leveret.jobs import DeadReason
from leveret.retry import RetryPolicy
from leveret.sdk.retry import Reject, RetryLater
from leveret.wire import as_time
from leveret_consumer.failures import FAILED, TIMED_OUT, error_of

LARGEST_RESULT = 256 * 1024  # bytes of JSON


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The policy's numbers decide what follows."""

    error: Error


class Postponed(msgspec.Struct, frozen=True, tag="postponed"):
    """The handler asked for its next attempt after just this long."""

    error: Error
    wait: timedelta


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """No further attempt: the handler said so, or its policy's classes do."""

    error: Error
    reason: DeadReason


Failure = Failed | Postponed | Refused
End = bytes | Failure  # the result as JSON, or what went wrong


class ResultTooLarge(ValueError):
    """A result above 256 KiB of JSON."""


class TooLate(Exception):
    """A handler does not start, because the job's deadline has passed."""

    def __init__(self, deadline: datetime) -> None:
        super().__init__(
            f"the job's deadline, {as_time(deadline)}, passed before this attempt; the handler was not started"
        )


def end_of(result: bytes, policy: RetryPolicy | None) -> End:
    """Return the end of a run that returned; `policy` is the handler's own."""
    if len(result) <= LARGEST_RESULT:
        return result
    return failure_of(
        ResultTooLarge(
            f"the result is {len(result):,} bytes of JSON, and at most {LARGEST_RESULT:,} are kept: store it somewhere "
            "and return where it is"
        ),
        policy,
    )


def failure_of(problem: BaseException, policy: RetryPolicy | None) -> Failure:
    """Return the end of a run that raised; `policy` is the handler's own, None without one: a JobQueue's has no classes."""
    match problem:
        case Reject():
            return Refused(_said(problem, DeadReason.REJECTED), DeadReason.REJECTED)
        case RetryLater():
            return Postponed(_said(problem, FAILED), problem.after)
        case TooLate():
            return _past_deadline(str(problem))
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
    return _past_deadline(f"the attempt was not done by the job's deadline, {as_time(deadline)}, and was stopped")


def _past_deadline(message: str) -> Refused:
    return Refused(Error(DeadReason.DEADLINE_EXCEEDED, message), DeadReason.DEADLINE_EXCEEDED)


def cancelled(policy: RetryPolicy | None) -> Failure:
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
