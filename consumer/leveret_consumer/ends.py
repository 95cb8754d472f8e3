"""How a handler's attempt ended, and what becomes of its message, as values; and an exception as what is told of it.

An `End` crosses threads and the pipes of processes: exception classes are looked at where the exception is (`outcome`). What
crosses over is the verdict: a class may not exist on the other side, a verdict always does. An `Outcome` is decided from it,
and is all that `settle` needs to know.

Events and dead letters carry an error, so it is cut to a size: the traceback starts at the first frame that is not ours,
and keeps its end, where the cause is.
"""

import traceback
from datetime import datetime, timedelta
from types import TracebackType

import msgspec

from leveret.events import Error
from leveret.jobs import DeadReason
from leveret.sdk.follow_ups import FollowUp

FAILED, TIMED_OUT = "Failed", "TimedOut"

LONGEST_MESSAGE = 2_000  # characters
LONGEST_TRACEBACK = 8 * 1024  # bytes
LARGEST_HEADER = 8 * 1024  # bytes of JSON

_OURS = ("leveret.", "leveret_consumer.")  # packages, and not where they lie: that may be a link or an archive
_CUT = "… (cut)\n"


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


class Unfit(msgspec.Struct, frozen=True, tag="unfit"):
    """Nothing was run: the payload is none that the handler takes."""

    reason: DeadReason
    detail: str


Failure = Failed | Postponed | Refused
End = bytes | Failure | Unfit  # the result as JSON, or what went wrong


class Succeeded(msgspec.Struct, frozen=True):
    result: bytes  # JSON
    follow_ups: tuple[FollowUp, ...] = ()  # to be published before anything is told of it


class RetryAfter(msgspec.Struct, frozen=True):
    """The next attempt starts when the delay level's time has passed."""

    level: int | None  # 2^level s; None: at once
    error: Error

    @property
    def wait(self) -> timedelta:
        return timedelta(0) if self.level is None else timedelta(seconds=2**self.level)


class RetryFromStore(msgspec.Struct, frozen=True):
    """The wait is above the last level, or must not be early: the store publishes the next attempt then, and no copy waits."""

    wait: timedelta
    error: Error


class DeadLetter(msgspec.Struct, frozen=True):
    reason: DeadReason
    error: Error


class Unkept(msgspec.Struct, frozen=True):
    """Dead by its deadline, and no dead letter: the reply tells whoever waits for it, and nobody would redrive it."""

    error: Error


class GivenBack(msgspec.Struct, frozen=True):
    """No attempt was started: the message comes again, as the same attempt, when the delay level's time has passed."""

    level: int  # 2^level s
    since: datetime  # the first time
    error: Error  # what it would be a dead letter for

    @property
    def wait(self) -> timedelta:
        return timedelta(seconds=2**self.level)


class Deferred(msgspec.Struct, frozen=True):
    """No attempt was started: its sender asked for a time, and the store publishes it then."""

    until: datetime


class Cancelled(msgspec.Struct, frozen=True):
    """Somebody asked for it before an attempt was started, or before the one that ran had ended."""


Outcome = Succeeded | RetryAfter | RetryFromStore | DeadLetter | Unkept | GivenBack | Deferred | Cancelled


class Finished(msgspec.Struct, frozen=True):
    """A message with its outcome; the times are unknown where nothing ran."""

    outcome: Outcome
    max_attempts: int | None = None
    started_at: datetime | None = None
    run_seconds: float | None = None
    wait_seconds: float | None = None  # for the start, where that was not told by itself


def error_of(problem: BaseException, reason: str = FAILED) -> Error:
    """Return what is told of a handler's exception."""
    return Error(
        reason=reason,
        message=cut_message(_message(problem)),
        type=cut_message(type(problem).__qualname__),
        traceback=_traceback(problem),
    )


def as_header(error: Error) -> str:
    """Return the error as JSON of at most 8 KiB, by leaving out as much of the traceback as it takes."""
    encoded = msgspec.json.encode(error)
    while len(encoded) > LARGEST_HEADER and error.traceback:
        # Escapes make JSON longer than its text: cut by what is too much, and look again.
        excess = len(encoded) - LARGEST_HEADER + len(_CUT.encode())
        rest = error.traceback.removeprefix(_CUT)[excess:]
        error = msgspec.structs.replace(error, traceback=_CUT + rest if rest else None)
        encoded = msgspec.json.encode(error)
    if len(encoded) > LARGEST_HEADER:
        encoded = msgspec.json.encode(Error(reason=error.reason, message=error.message[:500], type=error.type))
    return encoded.decode()


def cut_message(text: str) -> str:
    """Return the text, at most 2,000 characters of it, and only what can be written as UTF-8."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"


def _message(problem: BaseException) -> str:
    try:
        return str(problem)
    except BaseException:  # noqa: BLE001 - the __str__ of a user's exception may fail in any way
        return "(its message can't be read: __str__ failed)"


def _traceback(problem: BaseException) -> str | None:
    try:
        lines = traceback.format_exception(type(problem), problem, _users(problem.__traceback__))
    except BaseException:  # noqa: BLE001 - as above
        return None
    text = "".join(lines).encode("utf-8", "backslashreplace")
    if len(text) <= LONGEST_TRACEBACK:
        return text.decode()
    return _CUT + text[-(LONGEST_TRACEBACK - len(_CUT.encode())) :].decode("utf-8", "ignore")


def _users(frame: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame that is not ours; all of it if every frame is."""
    first = frame
    while frame and f"{frame.tb_frame.f_globals.get('__package__')}.".startswith(_OURS):
        frame = frame.tb_next
    return frame or first
