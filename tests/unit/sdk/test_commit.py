"""What a transaction and the runtime agree on: before COMMIT the runtime may forbid it, afterwards it waits."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from leveret import Context, Handlers, Retry, TransactionRefused, marks
from leveret.sdk.commit import AlreadyDone, Commit, Mark
from leveret.sdk.handlers import BadHandler
from leveret_consumer.testing import DeadLetter, run_attempt

ASYNC = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
BLOCKING = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
LITE = create_engine("sqlite://")


async def test_once_the_attempt_is_over_no_transaction_is_had() -> None:
    commit = Commit()
    assert await commit.settled() is None
    with pytest.raises(TransactionRefused, match="the attempt is over"):
        commit.take()


async def test_once_the_attempt_is_over_no_commit_begins() -> None:
    commit = Commit()
    commit.take()
    assert await commit.settled() is None
    with pytest.raises(TransactionRefused, match="the attempt is over"):
        commit.begin()
    assert await commit.settled() is None


@pytest.mark.parametrize("mark", [Mark(b"1"), None], ids=["committed", "rolled back"])
async def test_a_commit_that_has_begun_is_waited_for(mark: Mark | None) -> None:
    commit = Commit()
    commit.take()
    commit.begin()
    settled = asyncio.create_task(commit.settled())
    await asyncio.sleep(0)
    assert not settled.done()
    await asyncio.to_thread(commit.end, mark)
    assert await settled == await commit.settled() == mark


async def test_whoever_stops_waiting_leaves_the_commit_as_it_is() -> None:
    commit = Commit()
    commit.take()
    commit.begin()
    settled = asyncio.create_task(commit.settled())
    await asyncio.sleep(0)
    settled.cancel()
    await asyncio.wait({settled})
    commit.end(Mark(None))
    assert await commit.settled() == Mark(None)


async def test_a_cancel_forbids_a_commit_that_has_not_begun() -> None:
    commit = Commit()
    commit.take()
    assert (commit.cancelled, commit.cancel(), commit.cancelled) == (False, True, True)
    with pytest.raises(TransactionRefused, match="a cancel"):
        commit.begin()
    assert await commit.settled() is None


async def test_nor_is_a_transaction_had_after_one() -> None:
    commit = Commit()
    assert commit.cancel()
    with pytest.raises(TransactionRefused, match="a cancel"):
        commit.take()


@pytest.mark.parametrize("mark", [Mark(b"1"), None], ids=["committed", "rolled back"])
async def test_a_cancel_has_lost_once_commit_is_sent_until_it_is_rolled_back(mark: Mark | None) -> None:
    commit = Commit()
    commit.take()
    commit.begin()
    assert (commit.cancel(), commit.cancelled) == (False, False)
    commit.end(mark)
    assert (commit.cancel(), commit.cancelled) == (mark is None, mark is None)
    assert await commit.settled() == mark


async def test_a_mark_that_is_found_counts_though_the_job_is_cancelled() -> None:
    commit = Commit()
    commit.take()
    assert commit.cancel()
    commit.found(Mark(b"1", earlier=True))
    assert await commit.settled() == Mark(b"1", earlier=True)
    assert not commit.cancel()


async def test_a_context_tells_of_a_cancel() -> None:
    ctx = Context()
    assert not ctx.cancelled
    ctx.commit.cancel()
    assert ctx.cancelled


def test_an_attempt_has_one_transaction() -> None:
    commit = Commit()
    commit.take()
    with pytest.raises(TransactionRefused, match="a job has one transaction"):
        commit.take()


def test_except_exception_lets_it_pass_that_a_job_is_done() -> None:
    assert not issubclass(AlreadyDone, Exception)


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        pytest.param(LITE, "needs PostgreSQL, not sqlite", id="sqlite"),
        pytest.param("postgresql://", "made with create_engine or create_async_engine", id="a url"),
    ],
)
def test_what_is_no_engine_of_postgresql_is_refused(engine: Any, says: str) -> None:
    with pytest.raises(TransactionRefused, match=says):
        Context().transaction(engine)
    with pytest.raises(BadHandler, match=says):
        Handlers().job("store", transaction=engine)(blocking)


async def test_an_engine_that_would_hold_up_the_loop_is_refused() -> None:
    with pytest.raises(TransactionRefused, match="hold up the event loop"), Context().transaction(BLOCKING):
        pass


async def asynchronous(ctx: Context, job: object) -> None: ...


def blocking(ctx: Context, job: object) -> None: ...


@pytest.mark.parametrize(
    ("function", "engine", "cpu", "says"),
    [
        pytest.param(asynchronous, BLOCKING, False, "create_async_engine for async def", id="async def"),
        pytest.param(blocking, ASYNC, False, "create_engine for a plain def", id="def"),
        pytest.param(blocking, BLOCKING, True, "cpu=True has no transaction", id="cpu"),
    ],
)
def test_an_engine_that_does_not_go_with_its_handler_is_refused(
    function: Any, engine: Any, cpu: bool, says: str
) -> None:
    with pytest.raises(BadHandler, match=says):
        Handlers().job("store", cpu=cpu, transaction=engine)(function)


@pytest.mark.parametrize(("function", "engine"), [(asynchronous, ASYNC), (blocking, BLOCKING)], ids=["async", "def"])
def test_one_that_does_is_kept(function: Any, engine: Any) -> None:
    handlers = Handlers()
    assert handlers.job("store", transaction=engine)(function) is function
    assert handlers["store"].transaction is engine


async def test_a_handler_in_a_process_has_no_transaction() -> None:
    handlers = Handlers()

    @handlers.job("store", cpu=True)
    def store(ctx: Context, job: object) -> None:
        with ctx.transaction(BLOCKING):
            pass

    outcome = await run_attempt(handlers, "store", None, retry=Retry(max_attempts=1))
    assert isinstance(outcome, DeadLetter)
    assert "store in a handler that is async def" in outcome.error.message


async def test_a_database_that_can_not_be_reached_is_a_failed_attempt() -> None:
    handlers = Handlers()

    @handlers.job("store")
    async def store(ctx: Context, job: object) -> None:
        async with ctx.transaction(ASYNC):
            pass

    outcome = await run_attempt(handlers, "store", None, retry=Retry(max_attempts=1))
    assert isinstance(outcome, DeadLetter)
    assert outcome.error.type in ("ConnectionRefusedError", "OSError")


def test_one_in_twenty_runs_prunes() -> None:
    pruning = sum(marks.prunes(marks.Key(UUID(int=number), 1)) for number in range(20_000))
    assert 800 < pruning < 1_200
