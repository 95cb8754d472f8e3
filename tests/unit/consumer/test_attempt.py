"""From when an attempt's time counts, and what becomes of one that is late: the same in each pool."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from leveret import Context, Retry
from leveret.jobs import Envelope
from leveret.sdk.handlers import Handlers, Pool
from leveret_consumer.attempt import STOPS_WITHIN, Attempts, Rules
from leveret_consumer.commands import Commands
from leveret_consumer.ends import DeadLetter, Finished, RetryAfter, Succeeded, Unkept
from leveret_consumer.load import Load
from leveret_consumer.pools import LoopPool, ThreadPool, WorkPool
from leveret_consumer.pools.processes import ProcessPool
from leveret_consumer.reports import Reports

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)
JOBQUEUES_TIMEOUT = timedelta(seconds=30)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that the pool's processes import too."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.reload(importlib.import_module("attempt_jobs"))


@pytest.fixture
async def pools() -> AsyncIterator[dict[Pool, WorkPool]]:
    made: dict[Pool, WorkPool] = {
        Pool.LOOP: LoopPool(),
        Pool.THREAD: ThreadPool(1),
        Pool.PROCESS: ProcessPool(1, "attempt_jobs:handlers", "text", JOBQUEUES_TIMEOUT),
    }
    yield made
    for pool in made.values():
        pool.close()


async def run(
    handlers: Handlers,
    pools: dict[Pool, WorkPool],
    type: str,
    *,
    load: Load | None = None,
    now: Callable[[], datetime] = lambda: NOON,
    overrun: Callable[[str], None] = pytest.fail,
    stops_within: float = STOPS_WITHIN,
    **fields: Any,
) -> Finished:
    load = load or Load(1)
    rules = Rules("pod", JOBQUEUES_TIMEOUT, Retry(2, jitter="none"))
    attempts = Attempts(
        rules,
        pools,
        load,
        Reports(),
        now=now,
        draw=lambda: 0.5,
        overrun=overrun,
        commands=Commands("q"),
        stops_within=stops_within,
    )
    job = Envelope(UUID(int=1), "q", type, fields.pop("body", b"null"), **fields)
    return await attempts.run(job, handlers[type], await load.take())


@pytest.mark.parametrize("pool", ["loop", "thread", "process"])
async def test_the_deadline_counts_from_when_the_handler_starts(
    jobs: Any, pools: dict[Pool, WorkPool], pool: str
) -> None:
    """It counted from before a process had booted: the first job of each saw too little time left, or none."""
    for _ in range(2):  # the first job boots a process, the second finds it there
        times = chain([NOON], repeat(LATER))  # when the attempt begins, and when its handler does
        ended = await run(jobs.handlers, pools, pool, now=partial(next, times))
        assert ended.outcome == Succeeded(f'"{(LATER + timedelta(seconds=7)).isoformat()}"'.encode())


@pytest.mark.parametrize("pool", ["loop", "thread", "process"])
@pytest.mark.parametrize("seconds", [3, 7, 20])
async def test_a_handler_is_told_the_earlier_of_its_time_out_and_the_jobs_deadline(
    jobs: Any, pools: dict[Pool, WorkPool], pool: str, seconds: int
) -> None:
    ended = await run(jobs.handlers, pools, pool, deadline=NOON + timedelta(seconds=seconds))
    assert ended.outcome == Succeeded(f'"{(NOON + timedelta(seconds=min(seconds, 7))).isoformat()}"'.encode())


@pytest.mark.parametrize("pool", ["loop", "thread", "process"])
async def test_a_handlers_follow_ups_are_in_its_outcome_if_it_succeeds(
    jobs: Any, pools: dict[Pool, WorkPool], pool: str
) -> None:
    before = datetime.now(UTC)
    for _ in range(2):  # in one process: the second job has nothing of the first one's
        ended = await run(jobs.handlers, pools, f"submit {pool}")
        assert isinstance(ended.outcome, Succeeded)
        ids = [Context(job_id=UUID(int=1), queue="q").submit("next", n) for n in range(2)]
        assert [(one.id, one.queue, one.payload) for one in ended.outcome.follow_ups] == [
            (ids[0], "q", b"0"),
            (ids[1], "q", b"1"),
        ]
        at_once, later = (one.run_at for one in ended.outcome.follow_ups)
        assert at_once is None
        assert later is not None
        assert before < later - timedelta(minutes=1) < datetime.now(UTC)
    assert isinstance((await run(jobs.handlers, pools, f"submit {pool}", body=b"true")).outcome, RetryAfter)


@pytest.mark.parametrize("type", ["hang loop", "late thread", "hang process"])
@pytest.mark.parametrize("reply_to", [None, "answers"])
async def test_a_handler_is_stopped_at_the_deadline_and_not_tried_again(
    jobs: Any, pools: dict[Pool, WorkPool], type: str, reply_to: str | None
) -> None:
    handlers, overruns = jobs.handlers, list[str]()
    end = {"deadline": NOON + timedelta(milliseconds=10), "reply_to": reply_to}
    if type == "late thread":
        handlers = Handlers()
        handlers.job("late thread")(jobs.late_in_a_thread)
    patience = 0.01 if type == "late thread" else STOPS_WITHIN
    ended = await run(handlers, pools, type, overrun=overruns.append, stops_within=patience, **end)
    jobs.gate.set()
    assert isinstance(ended.outcome, Unkept if reply_to else DeadLetter)
    assert ended.outcome.error.reason == "DeadlineExceeded"
    assert len(overruns) == (type == "late thread"), "a thread can't be stopped"
    assert ended.started_at == NOON


@pytest.mark.parametrize("pool", ["loop", "thread", "process"])
async def test_a_handler_does_not_start_after_the_deadline(jobs: Any, pools: dict[Pool, WorkPool], pool: str) -> None:
    """Where it passes while the job waits for its slot, and where it does while a process boots."""
    load = Load(1)
    late = await run(jobs.handlers, pools, pool, load=load, deadline=NOON)
    assert (late.started_at, late.run_seconds, load.finished.attempts) == (None, None, 0)
    times = chain([NOON], repeat(LATER))
    later = await run(jobs.handlers, pools, pool, now=partial(next, times), deadline=LATER)
    for ended in (late, later):
        assert isinstance(ended.outcome, DeadLetter)
        assert (ended.outcome.reason, "was not started" in ended.outcome.error.message) == ("DeadlineExceeded", True)
    assert isinstance((await run(jobs.handlers, pools, pool)).outcome, Succeeded), (
        "the process is there for the next one"
    )


def is_a_time_out(ended: Finished) -> bool:
    return isinstance(ended.outcome, RetryAfter) and ended.outcome.error.reason == "TimedOut"


@pytest.mark.parametrize("pool", ["loop", "thread"])
async def test_who_comes_back_soon_after_the_time_out_costs_an_attempt_and_no_consumer(
    jobs: Any, pools: dict[Pool, WorkPool], pool: str
) -> None:
    """A thread had no tolerance: a call with the handler's own time-out, a millisecond late, restarted the consumer."""
    overruns: list[str] = []
    load = Load(1)
    attempt = asyncio.create_task(run(jobs.handlers, pools, f"late {pool}", load=load, overrun=overruns.append))
    _, pending = await asyncio.wait({attempt}, timeout=0.1)
    assert pending, "the time-out is over, and it still may come back"
    jobs.gate.set()
    jobs.opened.set()
    assert is_a_time_out(await attempt), "a result that comes late is none, wherever it comes from"
    assert overruns == []
    assert load.busy == 0


@pytest.mark.parametrize("pool", ["loop", "thread"])
async def test_who_does_not_come_back_is_told_and_keeps_the_slot(
    jobs: Any, pools: dict[Pool, WorkPool], pool: str
) -> None:
    overruns: list[str] = []
    load = Load(1)
    ended = await run(jobs.handlers, pools, f"late {pool}", load=load, overrun=overruns.append, stops_within=0.01)
    assert is_a_time_out(ended)
    assert len(overruns) == 1
    assert load.busy == 1
    jobs.gate.set()
    jobs.opened.set()
    async with asyncio.timeout(30):
        while load.busy:  # noqa: ASYNC110 - a thread tells the loop when it is done
            await asyncio.sleep(0.01)
