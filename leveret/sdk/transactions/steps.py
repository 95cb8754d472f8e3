"""What both forms of a transaction do, on a connection that is open."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import RootTransaction

from leveret import marks
from leveret.client.values import NewJob
from leveret.sdk.commit import PAUSES, AlreadyDone, Mark, TransactionRefused
from leveret.sdk.context import Context
from leveret.sdk.follow_ups import FollowUp
from leveret.sdk.submitting import follow_up

COMMITS_WITHIN = 5.0  # s; then the database is asked beside it
LETS_GO_WITHIN = 2.0  # s for ROLLBACK, and as long to give a connection up: less than a handler has after its time-out


class Kept:
    """What both forms take to be committed with the rest."""

    _steps: "Steps"

    def result(self, value: object) -> None:
        """Make this the job's result, in this run and any other; it is committed with the rest.

        Raises ValueError for what a handler could not return, TransactionRefused outside the block.
        """
        self._steps.keep(value)

    def submit(
        self,
        type: str,
        payload: object,
        *,
        queue: str | None = None,
        run_at: datetime | None = None,
        delay: timedelta | str | None = None,
    ) -> UUID:
        """Submit a follow-up exactly if this transaction is committed, whatever the handler does then; return its id.

        It is committed with the rest and published after, again by each run that finds it. For what else, see `ctx.submit`.
        Raises TransactionRefused outside the block.
        """
        return self._steps.submit(NewJob(type, payload, run_at, delay), queue)


class Steps:
    def __init__(self, engine: Engine, ctx: Context) -> None:
        self.engine, self.ctx, self.commit = engine, ctx, ctx.commit
        self._key = marks.Key(ctx.job_id, ctx.generation)
        self._root: RootTransaction | None = None
        self._tries = 0
        self._result: bytes | None = None
        self._follow_ups: list[FollowUp] = []
        self._open = False

    @property
    def prunes(self) -> bool:
        return marks.prunes(self._key)

    def enter(self, connection: Connection) -> Mark | None:
        if getattr(connection.connection.dbapi_connection, "autocommit", False):
            raise TransactionRefused("the engine commits each statement by itself (AUTOCOMMIT): give one that doesn't")
        found = marks.insert(connection, self._key, self.ctx.deadline - datetime.now(UTC))
        self._root, self._open = connection.get_transaction(), True
        return found

    def keep(self, value: object) -> None:
        if not self._open:
            raise TransactionRefused("tx.result() belongs inside the block: it is committed with the rest")
        self._result = self.commit.write(value)

    def submit(self, job: NewJob, queue: str | None) -> UUID:
        if not self._open:
            raise TransactionRefused("tx.submit() belongs inside the block: it is committed with the rest")
        new = follow_up(self.ctx, job, queue, datetime.now(UTC))
        self._follow_ups.append(one := self.commit.follow_up(new, in_transaction=True))
        return one.id

    def finish(self, connection: Connection) -> None:
        """Do all that comes before COMMIT."""
        self._open = False
        if connection.get_transaction() is not self._root or not marks.finish(connection, self._key, self._mark):
            raise TransactionRefused("the transaction was ended inside its block: leave that to the block's end")

    def already_done(self, mark: Mark) -> AlreadyDone:
        self.commit.found(mark)
        return AlreadyDone(f"job {self._key.job}, generation {self._key.generation}: its transaction is committed")

    def end(self, committed: bool) -> None:
        self.commit.end(self._mark if committed else None)

    @property
    def _mark(self) -> Mark:
        return Mark(self._result, follow_ups=tuple(self._follow_ups))

    def asks(self, connection: Connection) -> bool:
        try:
            return marks.is_committed(connection, self._key)
        finally:
            connection.invalidate()  # nobody else has its pool

    def beside(self) -> Engine:
        """Return an engine with a pool of its own: the handlers' connections may all be waiting for this."""
        return Engine(self.engine.pool.recreate(), self.engine.dialect, self.engine.url)

    def pause(self, problem: BaseException) -> float:
        """Note a try that told nothing; return how long to wait, in s."""
        self._tries += 1
        said = "COMMIT has no answer; the job waits until the database tells whether it is committed"
        self.ctx.log.warning(said, extra={"tries": self._tries, "because": _said(problem)})
        return PAUSES[min(self._tries, len(PAUSES)) - 1]

    def told(self, problem: BaseException, *, committed: bool) -> None:
        self.end(committed)
        said = "COMMIT had no good answer; the database has told what became of it"
        self.ctx.log.warning(said, extra={"committed": committed, "because": _said(problem)})


def no_answer(seconds: float) -> TimeoutError:
    return TimeoutError(f"the database did not answer within {seconds:g} s")


def _said(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {str(problem).partition(chr(10))[0]}"
