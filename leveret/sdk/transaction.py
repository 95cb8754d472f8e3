"""`ctx.transaction(engine)`: what a handler writes and the job's done-mark are committed together, or neither is.

The mark comes first, COMMIT last, and nothing interrupts that. Whatever the driver says, an answer that is not *committed* is
not believed: a connection may break, or fall silent, on either side of the commit. Then the same mark is inserted in a new
transaction (`marks.is_committed`), again and again until the database tells; meanwhile the attempt does not end, and the log
says so at each try.

The async form and the one for threads are the same steps, each with its own way to wait.
"""

import asyncio
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Self, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import RootTransaction
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from leveret import marks
from leveret.daemons import Daemons
from leveret.sdk.commit import AlreadyDone, Mark, TransactionRefused
from leveret.sdk.context import Context

ANSWERS_WITHIN = 15.0  # s for COMMIT, from when on the database is asked beside it; and for each time that it's asked
PAUSES = (0.1, 0.3, 1.0, 3.0)  # s between those; the last one for ever
LETS_GO_WITHIN = (
    2.0  # s for ROLLBACK, and then to give a connection up: together less than a handler has after its time-out
)


class _Steps:
    """What both forms do, on a connection that is open."""

    def __init__(self, engine: Engine, ctx: Context) -> None:
        self.engine, self.ctx, self.commit = engine, ctx, ctx.commit
        self._key = marks.Key(ctx.job_id, ctx.generation)
        self._root: RootTransaction | None = None
        self._tries = 0
        self.result: bytes | None = None

    @property
    def prunes(self) -> bool:
        return marks.prunes(self._key)

    def enter(self, connection: Connection) -> Mark | None:
        if self.engine.dialect.detect_autocommit_setting(_driver_connection(connection)):
            raise TransactionRefused("the engine commits each statement by itself (AUTOCOMMIT): give one that doesn't")
        found = marks.insert(connection, self._key, self.ctx.deadline - datetime.now(UTC))
        self._root = connection.get_transaction()
        return found

    def finish(self, connection: Connection) -> None:
        """Do all that comes before COMMIT."""
        if connection.get_transaction() is not self._root:
            raise TransactionRefused("the transaction was ended inside its block: leave that to the block's end")
        marks.finish(connection, self._key, self.result)

    def already_done(self, mark: Mark) -> AlreadyDone:
        self.commit.begin()
        self.commit.end(mark)
        return AlreadyDone(f"job {self._key.job}, generation {self._key.generation}: its transaction is committed")

    def end(self, committed: bool) -> None:
        self.commit.end(Mark(self.result) if committed else None)

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


class AsyncTransaction:
    """For `async def`: write through `connection`, SQLAlchemy's."""

    connection: AsyncConnection

    def __init__(self, engine: AsyncEngine, ctx: Context) -> None:
        self._steps, self._engine = _Steps(engine.sync_engine, ctx), engine
        self._broken = False

    def result(self, value: object) -> None:
        """Make this the job's result, in this run and any other; it is committed with the rest.

        Raises ValueError for what a handler could not return.
        """
        self._steps.result = self._steps.commit.write(value)

    async def __aenter__(self) -> Self:
        self._steps.commit.take()
        self.connection = await self._engine.connect()
        try:
            if mark := await self.connection.run_sync(self._steps.enter):
                raise self._steps.already_done(mark)
        except BaseException:
            await _uninterrupted(self._let_go())
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                await self.connection.run_sync(self._steps.finish)
                self._steps.commit.begin()
                await _uninterrupted(self._commit())
                if self._steps.prunes:
                    with suppress(Exception):  # the next one will
                        await self.connection.run_sync(marks.prune)
        finally:
            await _uninterrupted(self._let_go())

    async def _commit(self) -> None:
        sent = asyncio.create_task(self.connection.commit())
        problem = await _problem_of(sent, ANSWERS_WITHIN)
        if problem is None:
            return self._steps.end(committed=True)
        self._broken = True
        committed = await self._settle()
        sent.cancel()
        self._steps.told(problem, committed=committed)
        if not committed:
            raise problem
        return None

    async def _settle(self) -> bool:
        beside = AsyncEngine(self._steps.beside())
        while True:
            asked = asyncio.create_task(self._ask(beside))
            problem = await _problem_of(asked, ANSWERS_WITHIN)
            if problem is None:
                return asked.result()
            asked.cancel()
            await asyncio.sleep(self._steps.pause(problem))

    async def _ask(self, beside: AsyncEngine) -> bool:
        async with beside.connect() as connection:
            return await connection.run_sync(self._steps.asks)

    async def _let_go(self) -> None:
        """Roll back what was not committed; give the connection up where the database does not answer even that."""
        for last in (self._give_up,) if self._broken else (self.connection.close, self._give_up):
            closing = asyncio.create_task(last())
            if await _problem_of(closing, LETS_GO_WITHIN) is None:
                break
            closing.cancel()

    async def _give_up(self) -> None:
        await self.connection.invalidate()
        await self.connection.close()


class Transaction:
    """For `def`: write through `connection`, SQLAlchemy's."""

    connection: Connection

    def __init__(self, engine: Engine, ctx: Context) -> None:
        self._steps, self._engine = _Steps(engine, ctx), engine
        self._left: Future[None] | None = None  # a COMMIT that had no good answer, perhaps none yet

    def result(self, value: object) -> None:
        """Make this the job's result, in this run and any other; it is committed with the rest.

        Raises ValueError for what a handler could not return.
        """
        self._steps.result = self._steps.commit.write(value)

    def __enter__(self) -> Self:
        with suppress(RuntimeError):  # there is none in a thread
            asyncio.get_running_loop()
            raise TransactionRefused(
                "this engine would hold up the event loop, and all its jobs: make one with create_async_engine, or the "
                "handler a plain def"
            )
        self._steps.commit.take()
        self.connection = self._engine.connect()
        try:
            if mark := self._steps.enter(self.connection):
                raise self._steps.already_done(mark)
        except BaseException:
            self._let_go()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._steps.finish(self.connection)
                self._steps.commit.begin()
                self._commit()
                if self._steps.prunes:
                    with suppress(Exception):  # the next one will
                        marks.prune(self.connection)
        finally:
            self._let_go()

    def _commit(self) -> None:
        # In a thread of its own, because a driver that waits for an answer can't be told to stop.
        sent = Daemons().submit(self.connection.commit)
        try:
            sent.result(ANSWERS_WITHIN)
            return self._steps.end(committed=True)
        except Exception as raised:  # noqa: BLE001 - whatever it is, the database is asked
            problem = raised if sent.done() else _no_answer(ANSWERS_WITHIN)
        self._left = sent
        committed = self._settle()
        self._steps.told(problem, committed=committed)
        if not committed:
            raise problem
        return None

    def _settle(self) -> bool:
        beside = self._steps.beside()
        while True:
            try:
                return Daemons().submit(self._ask, beside).result(ANSWERS_WITHIN)
            except Exception as problem:  # noqa: BLE001 - whatever it is, the next try may tell
                time.sleep(self._steps.pause(problem))

    def _ask(self, beside: Engine) -> bool:
        with beside.connect() as connection:
            return self._steps.asks(connection)

    def _let_go(self) -> None:
        """Roll back what was not committed; leave a connection to itself that the database does not answer on."""
        with suppress(Exception):
            if self._left:
                self._left.add_done_callback(self._give_up)  # not before: another thread is in its driver
            else:
                Daemons().submit(self.connection.close).result(LETS_GO_WITHIN)

    def _give_up(self, _: object) -> None:
        self.connection.invalidate()
        self.connection.close()


def transaction(engine: object, ctx: Context) -> AsyncTransaction | Transaction:
    """Return the form that goes with the engine; raise TransactionRefused for what is none, or not PostgreSQL's."""
    check_engine(engine)
    return AsyncTransaction(engine, ctx) if isinstance(engine, AsyncEngine) else Transaction(cast(Engine, engine), ctx)


def check_engine(engine: object) -> None:
    """Raise TransactionRefused for what no transaction can be made with."""
    if not isinstance(engine, Engine | AsyncEngine):
        raise TransactionRefused(
            f"a transaction needs an engine of SQLAlchemy, made with create_engine or create_async_engine, not {engine!r:.80}"
        )
    if engine.dialect.name != "postgresql":
        raise TransactionRefused(f"a transaction needs PostgreSQL, not {engine.dialect.name}")


def is_async(engine: object) -> bool:
    return isinstance(engine, AsyncEngine)


async def _uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Wait for the end of what must not be cut off; a cancellation counts afterwards."""
    task, cancelled = asyncio.create_task(work), None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as problem:
            cancelled = problem
    if cancelled:
        _seen(task)
        raise cancelled
    task.result()


async def _problem_of(task: "asyncio.Task[Any]", seconds: float) -> BaseException | None:
    """Return what a task raised, or a TimeoutError where it is not done in time; None where it returned."""
    task.add_done_callback(_seen)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        return _no_answer(seconds)
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def _no_answer(seconds: float) -> TimeoutError:
    return TimeoutError(f"the database did not answer within {seconds:g} s")


def _seen(task: "asyncio.Task[Any]") -> None:
    """An exception that nobody waits for any more would be reported as never seen."""
    if not task.cancelled():
        task.exception()


def _said(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {str(problem).partition(chr(10))[0]}"


def _driver_connection(connection: Connection) -> DBAPIConnection:
    found = connection.connection.dbapi_connection
    assert found is not None
    return found
