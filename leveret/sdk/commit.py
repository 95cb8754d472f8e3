"""What a handler's transaction and the runtime agree on: whether an attempt's work is committed.

From the moment that COMMIT is sent the database alone decides. So an attempt has one `Commit`: before that moment the
runtime can forbid it, at a time-out or a cancel; after it the runtime waits until it is known, and a cancel comes too late.
There is no third way, whichever threads the two are in.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from leveret.sdk.follow_ups import FollowUp

if TYPE_CHECKING:
    from leveret.sdk.submitting import FollowUps

# s: how long the database has to tell what is committed, each time that it's asked; and between those, the last one for ever
ANSWERS_WITHIN, PAUSES = 15.0, (0.1, 0.3, 1.0, 3.0)
_OVER = "the attempt is over, by its time-out or a cancel: its transaction was rolled back"
NO_TRANSACTION_IN_A_PROCESS = (
    "a handler with cpu=True has no transaction, because its process may be killed at any moment, also beside a COMMIT that "
    "nobody would wait for: compute in it, and store in a handler that is async def or a plain def"
)


class AlreadyDone(BaseException):
    """The job's work is committed by an earlier run: the handler ends, and the job has succeeded.

    Not an Exception, so that `except Exception` in a handler lets it pass.
    """


class TransactionRefused(Exception):
    """A transaction that can't be had, or was not committed; the message tells why, and the fix."""


class MarksMissing(TransactionRefused):
    """The table of done-marks is not in the database; the message has the statement that makes it."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A done-mark that is committed."""

    result: bytes | None  # JSON; None: tx.result() was not called
    earlier: bool = False  # by an earlier run than this one
    follow_ups: tuple[FollowUp, ...] = ()  # what tx.submit() was given


_submitting = Lock()  # a handler may have several threads; it is held for microseconds


class Commit:
    """The one commit that an attempt may have. `write` makes JSON of a result; `refused` says why there is none."""

    submitted: tuple[FollowUp, ...] = ()  # beside a transaction; it counts if the handler succeeds
    _follow_ups: "FollowUps | None" = None  # made with the first one, which few have

    def __init__(self, write: Callable[[object], bytes] = msgspec.json.encode, refused: str | None = None) -> None:
        self.write, self._refused = write, refused
        # Made with the transaction, which few have. Cancelled: forbidden; running: COMMIT is sent; None: rolled back.
        self._mark: Future[Mark | None] | None = None
        self._is_over = self._has_ended = False
        self.cancelled = False  # the job, before it was committed; read in any thread

    def follow_up(self, one: FollowUp, *, in_transaction: bool = False) -> FollowUp:
        """Note a follow-up, for its transaction only count it; return it under its id. Raises as `FollowUps.add`."""
        from leveret.sdk.submitting import FollowUps

        with _submitting:
            if self._has_ended:
                raise RuntimeError("the attempt is over: this follow-up was not submitted")
            self._follow_ups = self._follow_ups or FollowUps()
            one = self._follow_ups.add(one)
            if not in_transaction:
                self.submitted = (*self.submitted, one)
            return one

    def close(self) -> tuple[FollowUp, ...]:
        """Let nothing be submitted from now on, and return what was beside a transaction."""
        self._has_ended = True
        return self.submitted

    def take(self) -> None:
        """Note that the handler has its transaction; raise TransactionRefused if it may have none, or had one."""
        if self._refused:
            raise TransactionRefused(self._refused)
        self._refused = "a job has one transaction, and this is the second of its attempt: do all of it in the first"
        self._mark = Future()
        # Looked at after that, and `settled` sets it before it looks for the other: in two threads, one of them sees it.
        if self._is_over:
            raise TransactionRefused(_OVER)

    def begin(self) -> None:
        """Call it last, right before COMMIT, and `end` later, whatever comes; raise TransactionRefused if it's too late."""
        # Nothing can be undone after this line: it is where a cancel is looked at last.
        assert self._mark is not None
        if not self._mark.set_running_or_notify_cancel():
            raise TransactionRefused(_OVER)

    def end(self, mark: Mark | None) -> None:
        """Tell what is in the database: the mark, None if the transaction was rolled back."""
        assert self._mark is not None
        self._mark.set_result(mark)

    def found(self, mark: Mark) -> None:
        """Tell of a mark that is in the database already; nothing takes that back."""
        self._mark = Future()
        self._mark.set_result(mark)

    def cancel(self) -> bool:
        """Let no COMMIT begin from now on, for the job is cancelled; tell whether it is, and not committed or about to be."""
        self._is_over = True
        mark = self._mark
        lost = mark is not None and not mark.cancel() and (mark.running() or mark.result() is not None)
        self.cancelled = self.cancelled or not lost
        return not lost

    async def settled(self) -> Mark | None:
        """Let no COMMIT begin from now on, wait for one that has begun, and return the mark that is committed."""
        self._is_over = self._has_ended = True  # submits, too
        return None if self._mark is None or self._mark.cancel() else await asyncio.wrap_future(self._mark)
