"""Consumers with transactions are killed around COMMIT: a job has its rows once or not at all, and its state says which."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from commit_proxy import Loss, commit_proxy
from containers import Server
from runs import until
from transacting import Rows, url_of
from transaction_jobs import ROWS

from leveret.settings import Database

SUPPORT = Path(__file__).parents[2] / "support"


@pytest.fixture
def start(
    consumer: Callable[..., Any], driver: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Start a consumer whose handlers write to the database, through another port if one is given."""
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT), prepend=":")
    monkeypatch.setenv("LEVERET_TEST_FORM", driver)

    def starts(port: int | None = None, **variables: object) -> Any:
        url = url_of(driver, replace(database, port=port or database.port)).render_as_string(hide_password=False)
        monkeypatch.setenv("LEVERET_TEST_DATABASE", url)
        return consumer(handlers="committing_consumer:handlers", **variables)

    return starts


async def killed_around_commit(rig: Any, start: Callable[..., Any], database: Database, loss: Loss) -> UUID:
    """Return a job whose consumer was killed when its COMMIT was on its way."""
    async with commit_proxy(database.host, database.port) as proxy:
        first = start(proxy.port)
        await first.ready()
        proxy.loses = loss
        job: UUID = await rig.submit("write", {"result": "one"})
        await until("COMMIT is on its way", lambda: proxy.lost == 1)
        first.signal(signal.SIGKILL)
        await first.ended()
        await until("the database has seen it", lambda: all(task.done() for task in proxy.tasks))
    return job


@pytest.mark.parametrize("loss", [Loss.SILENCE, Loss.NOTHING], ids=["after", "before"])
async def test_a_consumer_that_is_killed_around_commit(
    rig: Any, start: Callable[..., Any], database: Database, rows: Rows, loss: Loss
) -> None:
    job = await killed_around_commit(rig, start, database, loss)
    there = await rows.of(job)
    assert there == (ROWS if loss is Loss.SILENCE else 0)
    await start().ready()
    (end,) = await rig.final(job)
    assert (str(end.state), msgspec.json.decode(end.result)) == ("succeeded", "one")
    assert await rows.of(job) == ROWS


@pytest.mark.parametrize("loss", [Loss.SILENCE, Loss.NOTHING], ids=["after", "before"])
async def test_one_that_is_killed_around_commit_and_whose_job_is_cancelled_then(
    rig: Any, start: Callable[..., Any], database: Database, rows: Rows, loss: Loss
) -> None:
    job = await killed_around_commit(rig, start, database, loss)
    await rig.cancel(job)
    await start().ready()
    (end,) = await rig.final(job)
    assert (str(end.state), await rows.of(job)) == (("succeeded", ROWS) if loss is Loss.SILENCE else ("cancelled", 0))
    assert bytes(end.result) == (b'"one"' if loss is Loss.SILENCE else b"")


async def test_cancels_at_any_moment_leave_all_rows_or_none_and_the_state_says_which(
    rig: Any, start: Callable[..., Any], rows: Rows
) -> None:
    await start(concurrency=4).ready()
    jobs = []
    for n in range(60):
        jobs.append(await rig.submit("write", {"result": n}))
        await asyncio.sleep(n % 10 * 0.003)
        await rig.cancel(jobs[-1])
    ends = await rig.final(*jobs)
    found = [(str(end.state), await rows.of(job)) for end, job in zip(ends, jobs, strict=True)]
    assert set(found) <= {("succeeded", ROWS), ("cancelled", 0)}
    print(f"{sum(there > 0 for _, there in found)} of {len(found)} were committed")


async def test_jobs_under_kills_have_their_rows_once_and_their_state_says_so(
    rig: Any, start: Callable[..., Any], rows: Rows
) -> None:
    jobs = [await rig.submit("write", {"result": n, "pause": 0.05}) for n in range(60)]
    refused = [await rig.submit("write", {"then": "reject"}) for _ in range(20)]
    running = start(concurrency=4)
    for kill in range(3):
        await running.ready()
        await until("some are done", lambda some=10 * (kill + 1): len(ended(rig)) >= some)
        running.signal(signal.SIGKILL)
        await running.ended()
        running = start(concurrency=4)
    ends = await rig.final(*jobs, *refused)
    assert [str(end.state) for end in ends] == ["succeeded"] * 60 + ["dead"] * 20
    assert [msgspec.json.decode(end.result) for end in ends[:60]] == list(range(60))
    assert [await rows.of(job) for job in (*jobs, *refused)] == [ROWS] * 60 + [0] * 20


async def test_jobs_whose_database_is_killed_and_comes_back(
    rig: Any, start: Callable[..., Any], postgres: Server, rows: Rows
) -> None:
    jobs = [await rig.submit("write", {"result": n, "pause": 0.05}) for n in range(60)]
    one = start(concurrency=8, retry='{"maxAttempts":20,"backoff":{"initial":"1s","max":"1s"}}')
    await one.ready()
    await until("some are done", lambda: len(ended(rig)) >= 15)
    postgres.kill()
    await until("some failed, or wait", lambda: "COMMIT" in one.log.read_text() or "runs again" in one.log.read_text())
    postgres.start()
    ends = await rig.final(*jobs)
    await rows.engine.dispose()
    assert {str(end.state) for end in ends} == {"succeeded"}
    assert [await rows.of(job) for job in jobs] == [ROWS] * 60


def ended(rig: Any) -> set[Any]:
    return {event.id for event in rig.told if str(event.state) in ("succeeded", "dead")}


async def test_a_consumer_whose_database_has_no_table_of_marks_does_not_start(
    start: Callable[..., Any], rows: Rows
) -> None:
    await rows.do("DROP TABLE leveret_marks")
    one = start()
    assert await one.ended() == 1
    assert "CREATE TABLE IF NOT EXISTS leveret_marks" in one.log.read_text()


async def test_one_whose_database_is_away_does(rig: Any, start: Callable[..., Any], database: Database) -> None:
    async with commit_proxy(database.host, database.port) as proxy:
        proxy.away = True
        one = start(proxy.port)
        await one.ready()
    assert "is not known yet: the first transaction tells" in one.log.read_text()
