"""A handler's transaction on a real PostgreSQL, by each driver: its rows and its job's outcome agree, whatever happens."""

import asyncio
import itertools
import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from commit_proxy import CommitProxy, Loss, commit_proxy
from sqlalchemy import text
from transacting import Rows, engine_of, url_of
from transaction_jobs import ROWS, handlers_with

from leveret import Context, Handlers, Retry, marks
from leveret.settings import Database
from leveret_consumer.testing import Cancelled, DeadLetter, Outcome, RetryAfter, Succeeded, run_attempt

TIMES = int(os.environ.get("LEVERET_TEST_LOST_COMMITS", "10"))
LAST = Retry(max_attempts=1)
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "transactions.md"


@pytest.fixture
async def handlers(driver: str, database: Database, rows: Rows) -> AsyncIterator[Handlers]:
    async with engine_of(driver, database) as engine:
        yield handlers_with(engine)


async def run(
    handlers: Handlers,
    job: UUID,
    type: str = "write",
    timeout: float = 30,
    cancelled_after: float | None = None,
    **payload: Any,
) -> Outcome:
    return await run_attempt(
        handlers, type, payload, job_id=job, timeout=timeout, retry=LAST, cancelled_after=cancelled_after
    )


def result_of(outcome: Outcome) -> object:
    assert isinstance(outcome, Succeeded), outcome
    return json.loads(outcome.result)


async def test_a_second_run_has_the_first_ones_result_and_no_effects(handlers: Handlers, rows: Rows) -> None:
    job = uuid4()
    assert result_of(await run(handlers, job, result={"rows": ROWS}, returns="something else")) == {"rows": ROWS}
    assert result_of(await run(handlers, job, result="a second one")) == {"rows": ROWS}
    assert await rows.of(job) == ROWS
    again = await run_attempt(handlers, "write", {}, job_id=job, generation=2)
    assert (result_of(again), await rows.of(job)) == (None, 2 * ROWS), "a redrive is another generation"


async def test_without_tx_result_the_first_run_has_what_was_returned_and_the_second_null(
    handlers: Handlers, rows: Rows
) -> None:
    job = uuid4()
    assert result_of(await run(handlers, job, returns="four")) == "four"
    assert result_of(await run(handlers, job, returns="four")) is None


async def test_a_handler_that_swallows_already_done_changes_nothing(handlers: Handlers, rows: Rows) -> None:
    job = uuid4()
    for _ in range(2):
        assert result_of(await run(handlers, job, "swallow")) is None
    assert await rows.of(job) == ROWS


@pytest.mark.parametrize("after", ["raise", "result", "second"])
async def test_what_fails_after_the_commit_leaves_the_job_succeeded(handlers: Handlers, rows: Rows, after: str) -> None:
    job = uuid4()
    assert result_of(await run(handlers, job, result=1, after=after)) == 1
    assert await rows.of(job) == ROWS


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"then": "raise"}, "within the block"),
        ({"then": "fail"}, "transaction is aborted"),
        ({"then": "roll back"}, "ended inside its block"),
        ({"result": "x" * 300_000}, "at most 262,144 are kept"),
    ],
    ids=["raised", "swallowed", "rolled back", "large"],
)
async def test_what_fails_before_the_commit_leaves_nothing(
    handlers: Handlers, rows: Rows, payload: dict[str, Any], says: str
) -> None:
    """A statement that failed, and was swallowed, makes COMMIT a ROLLBACK that PostgreSQL reports as done."""
    job = uuid4()
    outcome = await run(handlers, job, **payload)
    assert isinstance(outcome, DeadLetter)
    assert says in outcome.error.message
    assert (await rows.of(job), await rows.ask("SELECT count(*) FROM leveret_marks")) == (0, 0)


async def test_a_time_out_within_the_block_rolls_back(handlers: Handlers, rows: Rows) -> None:
    """A thread can't be stopped; it comes to its COMMIT after the time-out, and does not commit."""
    job = uuid4()
    outcome = await run(handlers, job, timeout=1, then="sleep", seconds=2)
    assert isinstance(outcome, DeadLetter)
    assert outcome.error.type == "TimeoutError"
    assert await rows.of(job) == 0


async def test_a_cancel_within_the_block_rolls_back(handlers: Handlers, rows: Rows) -> None:
    """A thread hears of it when its statement is over, and comes to its COMMIT, which is refused."""
    job = uuid4()
    outcome = await run(handlers, job, then="sleep", seconds=2, cancelled_after=1)
    assert outcome == Cancelled()
    assert (await rows.of(job), await rows.ask("SELECT count(*) FROM leveret_marks")) == (0, 0)


@pytest.mark.parametrize("cancelled_after", [0, 0.001, 0.05])
async def test_a_job_that_an_earlier_run_has_committed_has_succeeded_though_it_is_cancelled(
    handlers: Handlers, rows: Rows, cancelled_after: float
) -> None:
    """Its consumer died before it could tell."""
    job = uuid4()
    assert result_of(await run(handlers, job, result="first", returns="other")) == "first"
    again = await run(handlers, job, cancelled_after=cancelled_after, result="second")
    assert (result_of(again), await rows.of(job)) == ("first", ROWS)
    redriven = await run_attempt(handlers, "write", {}, job_id=job, generation=2, cancelled_after=0)
    assert redriven == Cancelled()


async def test_one_that_was_not_committed_is_cancelled_once_its_transaction_is_over(
    handlers: Handlers, rows: Rows
) -> None:
    job = uuid4()
    async with rows.engine.connect() as another:
        await another.execute(text("INSERT INTO leveret_marks (job, generation) VALUES (:job, 1)"), {"job": job})
        cancelled = asyncio.create_task(run(handlers, job, cancelled_after=0))
        _, pending = await asyncio.wait({cancelled}, timeout=1)
        assert pending, "nobody knows yet what comes of the other run"
        await another.rollback()
        assert await cancelled == Cancelled()


async def test_without_the_table_nothing_is_committed(handlers: Handlers, rows: Rows) -> None:
    await rows.do("DROP TABLE leveret_marks")
    assert await run(handlers, uuid4(), cancelled_after=0) == Cancelled()


async def test_a_database_that_is_away_is_waited_for(driver: str, database: Database, rows: Rows) -> None:
    async with through_a_proxy(driver, database) as (proxy, handlers):
        proxy.away = True
        cancelled = asyncio.create_task(run(handlers, uuid4(), cancelled_after=0))
        _, pending = await asyncio.wait({cancelled}, timeout=1)
        assert pending
        proxy.away = False
        assert await cancelled == Cancelled()


@pytest.mark.parametrize("loss", [Loss.SILENCE, Loss.COMMIT], ids=["committed", "rolled back"])
async def test_a_cancel_while_commit_is_on_its_way_has_lost(
    driver: str, database: Database, rows: Rows, loss: Loss
) -> None:
    async with through_a_proxy(driver, database) as (proxy, handlers):
        job, proxy.loses, proxy.then_away = uuid4(), loss, True
        running = asyncio.create_task(run(handlers, job, result=1, cancelled_after=2))
        await until_lost(proxy)
        await asyncio.sleep(3)
        assert not running.done(), "neither cancelled nor committed while it is not known"
        proxy.away = False
        outcome = await running
        committed = loss is Loss.SILENCE
        assert isinstance(outcome, Succeeded if committed else DeadLetter)
        assert await rows.of(job) == (ROWS if committed else 0)


async def test_without_the_table_the_first_use_tells_the_statement(handlers: Handlers, rows: Rows) -> None:
    await rows.do("DROP TABLE leveret_marks")
    outcome = await run(handlers, uuid4())
    assert isinstance(outcome, DeadLetter)
    assert outcome.error.type == "MarksMissing"
    assert marks.DDL in outcome.error.message


async def test_a_deferred_constraint_that_fails_at_commit_is_a_failed_attempt(handlers: Handlers, rows: Rows) -> None:
    await rows.do("ALTER TABLE rows ADD CONSTRAINT once UNIQUE (job) DEFERRABLE INITIALLY DEFERRED")
    job = uuid4()
    outcome = await run(handlers, job)
    assert isinstance(outcome, DeadLetter)
    assert outcome.error.type == "IntegrityError"
    assert await rows.of(job) == 0


async def test_a_second_run_waits_for_the_first(handlers: Handlers, rows: Rows) -> None:
    job = uuid4()
    outcomes = await asyncio.gather(*(run(handlers, job, result=number) for number in range(8)))
    assert len({result_of(one) for one in outcomes}) == 1
    assert await rows.of(job) == ROWS


async def test_a_run_that_waits_for_another_one_in_vain_is_over_in_time(handlers: Handlers, rows: Rows) -> None:
    """In a thread too, which could not be stopped."""
    job = uuid4()
    async with rows.engine.begin() as another:
        await another.execute(text("INSERT INTO leveret_marks (job, generation) VALUES (:job, 1)"), {"job": job})
        outcome = await run(handlers, job, timeout=1)
        assert isinstance(outcome, DeadLetter)
    assert result_of(await run(handlers, job)) is None
    assert await rows.of(job) == 0


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_also_where_a_snapshot_is_kept(driver: str, database: Database, rows: Rows, level: str) -> None:
    async with engine_of(driver, database, isolation_level=level) as engine:
        handlers, job = handlers_with(engine), uuid4()
        outcomes = await asyncio.gather(*(run(handlers, job, result=number) for number in range(8)))
    assert len({result_of(one) for one in outcomes}) == 1
    assert await rows.of(job) == ROWS


async def test_an_engine_that_commits_each_statement_is_refused(driver: str, database: Database, rows: Rows) -> None:
    async with engine_of(driver, database, isolation_level="AUTOCOMMIT") as engine:
        outcome = await run(handlers_with(engine), uuid4())
    assert isinstance(outcome, DeadLetter)
    assert outcome.error.type == "TransactionRefused"
    assert await rows.ask("SELECT count(*) FROM leveret_marks") == 0


async def test_a_transaction_that_was_committed_within_its_block_is_told_as_it_is(
    handlers: Handlers, rows: Rows
) -> None:
    job = uuid4()
    first = await run_attempt(handlers, "write", {"then": "commit"}, job_id=job)
    assert isinstance(first, RetryAfter)
    assert "ended inside its block" in first.error.message
    assert result_of(await run(handlers, job, then="commit")) is None
    assert await rows.of(job) == ROWS


@asynccontextmanager
async def through_a_proxy(driver: str, database: Database) -> AsyncIterator[tuple[CommitProxy, Handlers]]:
    async with (
        commit_proxy(database.host, database.port) as proxy,
        engine_of(driver, replace(database, host="127.0.0.1", port=proxy.port)) as engine,
    ):
        yield proxy, handlers_with(engine)


@pytest.mark.timeout(600)
async def test_lost_commits_are_told_as_the_database_has_them(driver: str, database: Database, rows: Rows) -> None:
    """None doubled, none failed that was committed, none succeeded that was not."""
    committed = dict.fromkeys(Loss, 0)
    async with through_a_proxy(driver, database) as (proxy, handlers):
        for number, loss in itertools.product(range(TIMES), (Loss.ANSWER, Loss.COMMIT)):
            job, proxy.loses = uuid4(), loss
            outcome = await run(handlers, job, result=number)
            there = await rows.of(job)
            assert there == (ROWS if isinstance(outcome, Succeeded) else 0)
            committed[loss] += there > 0
            assert result_of(await run(handlers, job, result=number)) == number, "the next run"
            assert await rows.of(job) == ROWS
        assert proxy.lost == 2 * TIMES
    assert (committed[Loss.ANSWER], committed[Loss.COMMIT]) == (TIMES, 0)


@pytest.mark.parametrize("loss", [Loss.SILENCE, Loss.NOTHING], ids=["answer", "commit"])
async def test_silence_is_a_lost_commit(driver: str, database: Database, rows: Rows, loss: Loss) -> None:
    """Where COMMIT did not arrive either, the database is asked until it has given the transaction up."""
    async with through_a_proxy(driver, database) as (proxy, handlers):
        job, proxy.loses = uuid4(), loss
        running = asyncio.create_task(run(handlers, job, result=1))
        if loss is Loss.NOTHING:
            await until_lost(proxy)
            await asyncio.sleep(7)  # more than a COMMIT has for its answer
            assert not running.done(), "neither acknowledged nor failed while it is not known"
            await rows.do(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction' "
                "AND datname = current_database()"
            )
        outcome = await running
        assert (await rows.of(job), isinstance(outcome, Succeeded)) == (
            (ROWS, True) if loss is Loss.SILENCE else (0, False)
        )


async def until_lost(proxy: CommitProxy) -> None:
    async with asyncio.timeout(60):
        while not proxy.lost:  # noqa: ASYNC110 - it happens in the proxy
            await asyncio.sleep(0.01)


async def test_a_time_out_while_a_commit_is_in_doubt_waits_for_what_the_database_tells(
    driver: str, database: Database, rows: Rows
) -> None:
    async with through_a_proxy(driver, database) as (proxy, handlers):
        job, proxy.loses, proxy.then_away = uuid4(), Loss.ANSWER, True
        running = asyncio.create_task(run(handlers, job, timeout=2, result=1))
        await until_lost(proxy)
        await asyncio.sleep(3)
        assert not running.done()
        proxy.away = False
        assert result_of(await running) == 1
        assert await rows.of(job) == ROWS


async def test_old_marks_are_taken_away_in_steps(handlers: Handlers, rows: Rows) -> None:
    await rows.do(
        "INSERT INTO leveret_marks SELECT gen_random_uuid(), 1, NULL, now() - interval '14 days 1 second' "
        "FROM generate_series(1, 1500)",
        "INSERT INTO leveret_marks SELECT gen_random_uuid(), 1, NULL, now() - interval '13 days 23 hours'",
    )
    prunes = (job for job in iter(uuid4, None) if marks.prunes(marks.Key(job, 1)))
    left = []
    for _ in range(2):
        await run(handlers, next(prunes))
        left.append(await rows.ask("SELECT count(*) FROM leveret_marks"))
    assert left == [1500 + 1 - 1000 + 1, 1 + 2]


async def test_the_example_on_the_page_does_what_it_says(
    database: Database, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DATABASE_URL", url_of("asyncpg", database).render_as_string(hide_password=False))
    await rows.do("CREATE TABLE items (n integer)")
    page: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0], page)  # noqa: S102
    job = uuid4()
    for _ in range(2):
        outcome = await run_attempt(page["handlers"], "insert", {"rows": 7}, job_id=job)
        assert isinstance(outcome, Succeeded)
        assert outcome.result == b"7"
    assert await rows.ask("SELECT count(*) FROM items") == 7
    await page["engine"].dispose()


def test_the_statements_are_printed() -> None:
    done = subprocess.run([sys.executable, "-m", "leveret.marks"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{marks.DDL}\n"


async def test_the_table_is_made_once_however_many_make_it(driver: str, database: Database) -> None:
    async with engine_of("asyncpg", database) as several, engine_of(driver, database) as engine:
        await asyncio.gather(*(marks.create(several) for _ in range(5)))
        if driver == "psycopg":
            await asyncio.to_thread(marks.create, engine)
        else:
            await marks.create(engine)
        await marks.check(engine)


async def test_a_commit_for_which_there_is_no_thread_is_a_failed_attempt(
    database: Database, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    handlers = Handlers()
    async with engine_of("psycopg", database) as engine:

        @handlers.job("write")
        def write(ctx: Context, job: object) -> None:
            with ctx.transaction(engine) as tx:
                tx.connection.execute(text("INSERT INTO rows VALUES (:job)"), {"job": ctx.job_id})
                monkeypatch.setattr(threading.Thread, "start", none_left)

        job = uuid4()
        outcome = await run(handlers, job)
        monkeypatch.undo()
        assert isinstance(outcome, DeadLetter)
        assert outcome.error.message == "can't start new thread"
        assert (await rows.of(job), engine.pool.checkedout()) == (0, 0)


LARGE = text("INSERT INTO large (n) SELECT generate_series(1, 100000)")


async def test_a_large_insert_costs_little_more_than_without_leveret(
    driver: str, database: Database, rows: Rows
) -> None:
    """The fastest turn of each counts: what else the machine does only ever slows one down."""
    await rows.do("CREATE TABLE large (n integer)")
    async with engine_of(driver, database) as engine:
        fastest = [math.inf, math.inf]
        for turn in range(30):
            took = [
                await seconds(one, engine) for one in ((bare, ours) if driver != "psycopg" else (bare_def, ours_def))
            ]
            fastest = list(map(min, fastest, took))
            if turn > 4 and fastest[1] <= 1.3 * fastest[0]:
                break
    assert fastest[1] <= 1.3 * fastest[0]


async def seconds(work: Callable[[Any], Any], engine: Any) -> float:
    began = time.perf_counter()
    await (work(engine) if asyncio.iscoroutinefunction(work) else asyncio.to_thread(work, engine))
    return time.perf_counter() - began


async def bare(engine: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(LARGE)


async def ours(engine: Any) -> None:
    async with Context(job_id=uuid4()).transaction(engine) as tx:
        await tx.connection.execute(LARGE)


def bare_def(engine: Any) -> None:
    with engine.begin() as connection:
        connection.execute(LARGE)


def ours_def(engine: Any) -> None:
    with Context(job_id=uuid4()).transaction(engine) as tx:
        tx.connection.execute(LARGE)
