"""What becomes of an attempt whose job is cancelled: before it starts, while its process boots, while it runs, and after."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from leveret import Context, Retry, control
from leveret.control import Cancel, Control
from leveret.events import JobEvent
from leveret.jobs import Envelope
from leveret.sdk.commit import Commit, Mark
from leveret.sdk.handlers import Handlers, Pool
from leveret_consumer.attempt import Attempts, Rules
from leveret_consumer.commands import Commands
from leveret_consumer.ends import Cancelled, DeadLetter, Finished, RetryAfter, Succeeded
from leveret_consumer.load import Load
from leveret_consumer.pools import Call, LoopPool, ThreadPool, Work, WorkPool
from leveret_consumer.pools.processes import ProcessPool
from leveret_consumer.reports import Reports
from leveret_consumer.testing import run_attempt

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that the pool's processes import too."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.reload(importlib.import_module("cancelled_jobs"))


@pytest.fixture
async def world(jobs: Any) -> AsyncIterator["World"]:
    made = World(jobs.handlers)
    reporting = asyncio.create_task(made.reports.run(made.report))
    yield made
    reporting.cancel()
    jobs.gate.set()
    for pool in made.pools.values():
        pool.close()


class World:
    def __init__(self, handlers: Handlers) -> None:
        self.handlers, self.commands, self.load = handlers, Commands("q"), Load(1)
        self.pools: dict[Pool, WorkPool] = {
            Pool.LOOP: LoopPool(),
            Pool.THREAD: ThreadPool(1),
            Pool.PROCESS: ProcessPool(1, "cancelled_jobs:handlers", "text", timedelta(seconds=30)),
        }
        self.reports, self.events = Reports(), list[JobEvent]()
        self.attempts = Attempts(
            Rules("pod", timedelta(seconds=30), Retry(2, jitter="none")),
            self.pools,
            self.load,
            self.reports,
            now=lambda: NOON,
            draw=lambda: 0.5,
            overrun=lambda _: None,
            commands=self.commands,
            stops_within=0.1,
        )

    async def report(self, batch: list[JobEvent], queue: str | None) -> None:
        self.events += batch

    async def run(self, type: str, number: int = 1, **fields: Any) -> Finished:
        job = Envelope(UUID(int=number), "q", type, b"null", **fields)
        return await self.attempts.run(job, self.handlers[type], await self.load.take())

    def cancel(self, number: int = 1) -> None:
        named = Cancel("q", control.pack([(UUID(int=number), 1)]), NOON + timedelta(days=1))
        self.commands.hear(Control(NOON, [named]), NOON)
        self.attempts.stop_cancelled()


async def until(seen: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not seen():  # noqa: ASYNC110 - in another thread, or process
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("type", ["loop", "thread", "process"])
async def test_a_job_that_is_cancelled_does_not_start(world: World, jobs: Any, type: str) -> None:
    world.cancel()
    ended = await world.run(type)
    assert (ended.outcome, ended.started_at, ended.run_seconds) == (Cancelled(), None, None)
    assert not jobs.started.is_set()


async def test_a_redriven_one_does(world: World, jobs: Any) -> None:
    world.cancel()
    ended = await world.run("echo process", generation=2)
    assert ended.outcome == Succeeded(b'"done"')


async def test_one_that_is_cancelled_in_the_turn_before_its_first_step_does_not_start(world: World, jobs: Any) -> None:
    running = asyncio.create_task(world.run("loop"))
    world.cancel()
    assert (await running).outcome == Cancelled()
    assert not jobs.started.is_set()


@pytest.mark.parametrize("type", ["loop", "thread"])
async def test_one_that_runs_is_asked_to_end_and_its_neighbours_are_not(world: World, jobs: Any, type: str) -> None:
    running = asyncio.create_task(world.run(type))
    await until(jobs.started.is_set)
    world.cancel(2)
    _, pending = await asyncio.wait({running}, timeout=0.05)
    assert pending, "another job is cancelled"
    world.cancel()
    ended = await running
    assert (ended.outcome, ended.started_at) == (Cancelled(), NOON)
    assert ended.run_seconds is not None
    assert world.load.busy == 0, "its slot is free"


async def test_a_process_is_killed_and_the_next_job_has_a_new_one(world: World, jobs: Any) -> None:
    running = asyncio.create_task(world.run("process"))
    await until(lambda: any(event.progress for event in world.events))
    world.cancel()
    assert (await running).outcome == Cancelled()
    assert (await world.run("echo process", 2)).outcome == Succeeded(b'"done"')


class Boots:
    """Processes that take their time to boot."""

    def __init__(self) -> None:
        self.booted, self.begun = asyncio.Event(), 0

    async def start(self, call: Call) -> Work:
        await self.booted.wait()
        self.begun += 1
        done: Any = asyncio.get_running_loop().create_future()
        done.set_result(b"1")
        return Work(done=done, stop=None)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("others", [False, True], ids=["cancelled", "and its connection is lost"])
async def test_nobody_waits_for_a_process_to_boot_for_a_cancelled_job(world: World, others: bool) -> None:
    world.pools[Pool.PROCESS] = boots = Boots()
    running = asyncio.create_task(world.run("process"))
    await until(lambda: world.attempts._running)
    world.cancel()
    if others:
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
    else:
        assert (await running).outcome == Cancelled()
        await asyncio.sleep(0)
        assert world.load.busy == 0
    assert (boots.begun, world.attempts._running) == (0, {})


async def test_a_process_that_boots_for_a_cancelled_job_serves_the_next_one(world: World) -> None:
    running = asyncio.create_task(world.run("process"))
    await until(lambda: world.attempts._running)
    world.cancel()
    assert (await running).outcome == Cancelled()
    assert (await world.run("echo process", 2)).outcome == Succeeded(b'"done"')


@pytest.mark.parametrize("type", ["deaf loop", "deaf thread"])
async def test_a_result_all_the_same_is_a_success(world: World, jobs: Any, type: str) -> None:
    running = asyncio.create_task(world.run(type))
    await until(jobs.started.is_set)
    world.cancel()
    jobs.gate.set()
    assert (await running).outcome == Succeeded(b'"done"')


@pytest.mark.parametrize("type", ["deaf loop until its time-out", "deaf thread until its time-out"])
async def test_what_goes_on_until_its_time_out_is_a_time_out(world: World, jobs: Any, type: str) -> None:
    running = asyncio.create_task(world.run(type))
    await until(jobs.started.is_set)
    world.cancel()
    outcome = (await running).outcome
    assert isinstance(outcome, RetryAfter)
    assert outcome.error.reason == "TimedOut"
    jobs.gate.set()  # the thread's slot is busy until then
    assert (await world.run(type, attempt=2)).outcome == Cancelled(), "the next attempt does not start"


async def test_a_failure_before_the_cancel_is_what_it_was(world: World) -> None:
    handlers = Handlers()

    @handlers.job("fail")
    async def fail(ctx: Context, job: object) -> None:
        raise ValueError("no")

    world.handlers = handlers
    ended = await world.run("fail")
    world.cancel()
    assert isinstance(ended.outcome, RetryAfter)
    assert isinstance((await world.run("fail", 2, attempt=2)).outcome, DeadLetter)


class CommitsAt:
    """A handler whose transaction is where the test wants it to be as the cancel comes."""

    def __init__(self, mark: Mark | None) -> None:
        self.handlers, self.go, self.commit, self.mark = Handlers(), asyncio.Event(), Commit(), mark
        self.handlers.job("commits")(self.run)

    async def run(self, ctx: Context, job: object) -> str:
        self.commit = ctx.commit
        ctx.commit.take()
        ctx.commit.begin()
        try:
            await self.go.wait()
        finally:
            ctx.commit.end(self.mark)
        raise ValueError("after the block")


async def test_a_cancel_that_comes_after_commit_was_sent_has_lost(world: World) -> None:
    one = CommitsAt(Mark(b"7"))
    world.handlers = one.handlers
    running = asyncio.create_task(world.run("commits"))
    await until(lambda: world.attempts._running and not one.commit.cancelled and one.commit._mark)
    world.cancel()
    _, pending = await asyncio.wait({running}, timeout=0.05)
    assert pending, "nothing is stopped"
    assert not one.commit.cancelled
    one.go.set()
    assert (await running).outcome == Succeeded(b"7")


async def test_if_the_commit_fails_the_attempt_has_failed_and_the_next_does_not_start(world: World) -> None:
    one = CommitsAt(None)
    world.handlers = one.handlers
    running = asyncio.create_task(world.run("commits"))
    await until(lambda: world.attempts._running and one.commit._mark)
    world.cancel()
    one.go.set()
    assert isinstance((await running).outcome, RetryAfter)
    assert (await world.run("commits", attempt=2)).outcome == Cancelled()


@pytest.mark.parametrize("type", ["loop", "thread", "process"])
async def test_a_test_of_a_handler_can_cancel_it(jobs: Any, type: str) -> None:
    assert await run_attempt(jobs.handlers, type, None, cancelled_after=0.05) == Cancelled()
    jobs.started.clear()
    assert await run_attempt(jobs.handlers, type, None, cancelled_after=0) == Cancelled()
    assert not jobs.started.is_set()
    jobs.gate.set()
