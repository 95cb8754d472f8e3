"""What a `cpu=True` handler has started ends with its process, however that ends, and holds up nobody."""

import asyncio
import importlib
import json
import signal
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from runs import until

from leveret import Context
from leveret.jobs import Envelope
from leveret_consumer.ends import Failed
from leveret_consumer.pools import Call, Work
from leveret_consumer.pools.processes import ProcessPool

STARTS = [
    "nobody",
    "a program",
    "one that ignores SIGTERM",
    "one that is stopped",
    "a pipeline",
    "an orphan in the background",
    "a fork that holds our pipes",
    "a fork of a fork",
    "a fork that goes the handler's way",
    "multiprocessing by fork",
    "multiprocessing by spawn",
    "multiprocessing by forkserver",
]
ENDS = {
    "exits with 0": "ended with exit code 0",
    "crashes": "was ended by signal SIGSEGV",
    "is killed": "was ended by signal SIGKILL",
}


def runs(process: int) -> bool:
    """Whether it's there and no zombie: those wait for whoever is process 1 here."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def still_run(folder: Path) -> list[int]:
    return [int(one.name) for one in folder.iterdir() if one.name.isdigit() and runs(int(one.name))]


@pytest.fixture
async def pool(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProcessPool]:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    made = ProcessPool(1, "family_jobs:handlers", "text", timedelta(hours=1))
    yield made
    made.close()


async def begin(pool: ProcessPool, type: str, payload: object) -> Work:
    handler = importlib.import_module("family_jobs").handlers[type]
    job = Envelope(UUID(int=1), "q", type, json.dumps(payload).encode())
    return await pool.start(Call(handler, Context(type=type), job, bool))


async def family(pool: ProcessPool, folder: Path, starts: str, then: str = "waits") -> Work:
    """Start a handler, and wait until all that it starts are there."""
    work = await begin(pool, "family", {"folder": str(folder), "starts": starts, "then": then})
    await until("all are there", lambda: (folder / "all").exists())
    return work


@pytest.mark.parametrize("starts", STARTS)
async def test_a_stop_ends_all_that_the_handler_has_started(pool: ProcessPool, tmp_path: Path, starts: str) -> None:
    """Only the process was killed: its programs went on, and a fork that held its pipe made the job unstoppable."""
    work = await family(pool, tmp_path, starts)
    assert work.stop
    work.stop()
    end = await asyncio.wait_for(work.done, 5)  # what the time-out leaves it before the consumer would be restarted
    assert isinstance(end, Failed)
    assert "signal SIGKILL" in end.error.message
    await until("none is left", lambda: not still_run(tmp_path), 5)


@pytest.mark.parametrize("then", ["computes without a pause", "is stopped"])
async def test_a_handler_that_hears_nothing_is_stopped_too(pool: ProcessPool, tmp_path: Path, then: str) -> None:
    work = await family(pool, tmp_path, "a fork that holds our pipes", then)
    assert work.stop
    work.stop()
    await asyncio.wait_for(work.done, 5)
    await until("none is left", lambda: not still_run(tmp_path), 5)


@pytest.mark.parametrize("then", ENDS)
@pytest.mark.parametrize("starts", ["a fork that holds our pipes", "multiprocessing by fork", "one that is stopped"])
async def test_a_death_is_noticed_at_once_and_what_is_left_is_ended(
    pool: ProcessPool, tmp_path: Path, starts: str, then: str
) -> None:
    """With a forked process that held its pipe a crash was noticed at the time-out, ten minutes later here."""
    work = await family(pool, tmp_path, starts, then)
    end = await asyncio.wait_for(work.done, 10)
    assert isinstance(end, Failed)
    assert ENDS[then] in end.error.message
    await until("none is left", lambda: not still_run(tmp_path), 5)


async def test_a_handler_that_closes_all_its_files_is_ended(pool: ProcessPool, tmp_path: Path) -> None:
    work = await family(pool, tmp_path, "a program", "closes all files")
    end = await asyncio.wait_for(work.done, 30)
    assert isinstance(end, Failed)
    assert "closed its pipe, went on and was killed" in end.error.message
    await until("none is left", lambda: not still_run(tmp_path), 5)


async def test_what_a_handler_leaves_behind_goes_on_until_its_process_ends(pool: ProcessPool, tmp_path: Path) -> None:
    work = await family(pool, tmp_path, "a program", "returns")
    assert await asyncio.wait_for(work.done, 10) == b'"done"'
    assert len(still_run(tmp_path)) == 2, "the process is kept for the next job, and its program with it"
    pool.close()
    await until("none is left", lambda: not still_run(tmp_path), 5)


async def test_a_copy_that_a_handler_forks_answers_for_no_job(pool: ProcessPool) -> None:
    """It wrote a second result into the pipe: the next job's."""
    for n in range(5):
        work = await begin(pool, "fork and return", str(n))
        assert await asyncio.wait_for(work.done, 10) == f'"{n}"'.encode()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_nothing_outlives_the_consumer(
    rig: Any, consumer: Callable[..., Any], tmp_path: Path, how: signal.Signals
) -> None:
    """However it ends, and whatever they do: they would run beside the job's next run."""
    one = consumer(handlers="family_jobs:handlers", timeout="10m", grace="500ms", grace_period="11m")
    await one.ready()
    families = [tmp_path / "1", tmp_path / "2"]
    for folder, starts, then in zip(
        families, ["a fork that holds our pipes", "a pipeline"], ["is stopped", "waits"], strict=True
    ):
        folder.mkdir()
        await rig.submit("family", {"folder": folder, "starts": starts, "then": then})
    await until("all are there", lambda: all((folder / "all").exists() for folder in families))
    one.signal(how)
    await one.ended()
    await until("none is left", lambda: not any(still_run(folder) for folder in families), 5)


async def test_after_a_time_out_nothing_is_left_and_the_next_job_runs(
    rig: Any, consumer: Callable[..., Any], tmp_path: Path
) -> None:
    one = consumer(handlers="family_jobs:handlers", concurrency=1, timeout="10m")
    await one.ready()
    job = await rig.submit("short family", {"folder": tmp_path, "starts": "multiprocessing by fork"})
    (end,) = await rig.final(job)
    assert (end.error.reason, end.error.type) == ("AttemptsExhausted", "TimeoutError")
    await until("none is left", lambda: not still_run(tmp_path), 5)
    (end,) = await rig.final(await rig.submit("fork and return", "next"))
    assert bytes(end.result or b"") == b'"next"'
    assert (await asyncio.to_thread(one.readiness))[0], "nothing that could not be stopped drains it"
