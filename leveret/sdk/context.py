"""`Context`: what a handler is given beside its payload.

Every field has a default, so that a test of a handler makes one with the fields that it looks at: `Context()` or
`Context(attempt=3)`. Its log goes where the test's logging goes, and its progress nowhere.
"""

import logging
import math
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, SupportsFloat, overload
from uuid import UUID

from leveret.jobs import DeadLetterInfo
from leveret.sdk.commit import Commit

if TYPE_CHECKING:  # SQLAlchemy is there where a handler has an engine
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from leveret.sdk.transactions.asynchronous import AsyncTransaction
    from leveret.sdk.transactions.blocking import Transaction

ReportProgress = Callable[[float, float | None], None]

_NO_JOB = UUID(int=0)
_NO_DEADLINE = datetime.max.replace(tzinfo=UTC)


class JobLog(logging.LoggerAdapter[logging.Logger]):
    """A logger that adds the job's fields to each line; `extra=` of a call is kept beside them."""

    def __init__(
        self, logger: logging.Logger, fields: Mapping[str, object] | Callable[[], Mapping[str, object]]
    ) -> None:
        """`fields` may be a function: most handlers write no line, and then they need not be made."""
        super().__init__(logger, None)
        self._fields = fields

    def process(
        self, message: object, options: MutableMapping[str, object]
    ) -> tuple[object, MutableMapping[str, object]]:
        given = options.get("extra")
        fields = self._fields() if callable(self._fields) else self._fields
        options["extra"] = {**(given if isinstance(given, dict) else {}), **fields}
        return message, options


def _nowhere(done: float, total: float | None) -> None:
    """Progress of a context that nobody watches, as in a unit test of a handler."""


def _plain_log() -> JobLog:
    return JobLog(logging.getLogger("leveret.handler"), {})


@dataclass(frozen=True, slots=True)
class Context:
    """One attempt of one job, as its handler sees it."""

    job_id: UUID = _NO_JOB
    queue: str = ""
    type: str = ""
    attempt: int = 1  # 1…
    generation: int = 1  # 1…; one more with each redrive, and the attempts begin anew
    max_attempts: int = 1
    delivery: int = (
        0  # how often the broker delivered this attempt before, to a consumer that did not bring it to an end
    )
    deadline: datetime = _NO_DEADLINE  # the attempt is stopped then
    dead_letter: DeadLetterInfo | None = (
        None  # what the job was where it died, in a queue of another one's dead letters
    )
    submitted_at: datetime | None = None  # in UTC; None where nobody said
    log: JobLog = field(default_factory=_plain_log, repr=False)  # each line carries job, queue, type and attempt
    report_progress: ReportProgress = field(default=_nowhere, repr=False)
    commit: Commit = field(default_factory=Commit, repr=False, compare=False)  # what `transaction` tells the runtime

    @overload
    def transaction(self, engine: "AsyncEngine") -> "AsyncTransaction": ...
    @overload
    def transaction(self, engine: "Engine") -> "Transaction": ...
    def transaction(self, engine: "AsyncEngine | Engine") -> "AsyncTransaction | Transaction":
        """Return the job's transaction in PostgreSQL: `async with` an AsyncEngine, `with` an Engine in a plain `def`.

        What is written through its `connection` is committed at the block's end, once a job: in a run after that, entering
        raises AlreadyDone, and the job has succeeded. Raises TransactionRefused, with a sentence, for `cpu=True`, for a
        second one, and for an engine that can't be used; MarksMissing where the table of done-marks is not there.
        """
        from leveret.sdk.transactions import transaction

        return transaction(engine, self)

    def submit(
        self,
        type: str,
        payload: object,
        *,
        queue: str | None = None,
        run_at: datetime | None = None,
        delay: timedelta | str | None = None,
    ) -> UUID:
        """Submit a follow-up once the handler has succeeded, in the job's own queue if none is given; return its id.

        The id is the same in each run of the job. Nothing is sent yet, so there is nothing to await; safe in threads. What is
        to be submitted exactly if a transaction is committed goes to `tx.submit`. Raises `leveret.client.Unsendable` for what
        can't be a job, and for more than 1,000 or 8 MiB of payloads; RuntimeError in a thread that outlives its attempt.
        """
        from leveret.client.values import NewJob
        from leveret.sdk.submitting import follow_up

        one = follow_up(self, NewJob(type, payload, run_at, delay), queue, datetime.now(UTC))
        return self.commit.follow_up(one).id

    @property
    def cancelled(self) -> bool:
        """Whether the job is cancelled, and its handler should end: by any exception, or by a result if it is done anyway.

        For a plain `def` that works for long, and for threads; an `async def` is interrupted at its next await, and a process
        killed. In a test of a handler `ctx.commit.cancel()` makes it true.
        """
        return self.commit.cancelled

    def progress(self, done: SupportsFloat, total: SupportsFloat | None = None) -> None:
        """Tell how far the job is, in any unit; shown with the job within about a second. Safe in threads.

        Any number will do, a Fraction or one of numpy's too. Raises TypeError or ValueError for what is none, and for
        NaN and infinity: JSON has neither.
        """
        self.report_progress(_finite("done", done), None if total is None else _finite("total", total))


def _finite(name: str, value: SupportsFloat) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"progress must be finite numbers, and {name} is {value!r:.50}")
    return number
