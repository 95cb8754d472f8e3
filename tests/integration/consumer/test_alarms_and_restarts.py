"""A broker under an alarm, and all consumers restarted in turn: nothing is lost, and nothing runs twice."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from containers import Server, management, wait_until
from runs import runs, until

ALARMS = [
    pytest.param(
        ["set_vm_memory_high_watermark", "absolute", "1"], ["set_vm_memory_high_watermark", "0.6"], id="memory"
    ),
    pytest.param(["set_disk_free_limit", "9000000000000000"], ["set_disk_free_limit", "50MB"], id="disk"),
]


def _is_blocked(rabbitmq: Server, vhost: str) -> bool:
    """Whether it has read the first of what a consumer published under the alarm, and reads no more."""
    found = management(rabbitmq, f"vhosts/{vhost}/connections")
    assert isinstance(found, list)
    return any(one.get("state") == "blocked" for one in found)


@pytest.mark.parametrize(("raise_it", "end_it"), ALARMS)
async def test_jobs_that_end_under_an_alarm_are_told_of_when_it_is_over(
    rig: Any,
    consumer: Callable[..., Any],
    witness: Path,
    tmp_path: Path,
    rabbitmq: Server,
    raise_it: list[str],
    end_it: list[str],
) -> None:
    one = consumer(concurrency=3)
    await one.ready()
    # Submitted before: who publishes under an alarm waits for its end.
    gate = tmp_path / "gate"
    waits = {"witness": witness, "gate": gate}
    retried = await rig.submit("fail-slowly", waits | {"times": 1})
    jobs = [await rig.submit("sleep", waits) for _ in range(5)]
    await until("three run", lambda: len(runs(witness)) == 3)
    await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", *raise_it)
    try:
        gate.touch()
        await until("two have ended, and one has failed", lambda: len(runs(witness, "end")) == 2)
        await asyncio.to_thread(
            wait_until, "the broker has blocked it", lambda: _is_blocked(rabbitmq, rig.broker.vhost)
        )
        told = [str(event.state) for event in rig.told]
        assert one.process.poll() is None
    finally:
        await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", *end_it)
    assert told == ["running"] * 3, "the broker took what was published under the alarm"
    ends = await rig.final(retried, *jobs, seconds=90)
    assert [(str(end.state), end.delivery) for end in ends] == [("succeeded", 0)] * 6
    expected = [(str(retried), 1), (str(retried), 2), *((str(job), 1) for job in jobs)]
    assert sorted(runs(witness)) == sorted(expected), "each attempt ran once"
    assert await rig.ready_messages() == 0
    assert one.process.poll() is None


async def test_all_consumers_are_restarted_in_turn_under_load_and_nothing_runs_twice(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    consumers = [consumer(concurrency=4) for _ in range(3)]
    for one in consumers:
        await one.ready(60)
    jobs: list[UUID] = []
    restarted = asyncio.Event()

    async def submit() -> None:
        while not restarted.is_set() or len(jobs) < 100:
            jobs.append(await rig.submit("sleep", {"witness": witness, "seconds": 0.3}))
            await asyncio.sleep(0.03)

    async with asyncio.TaskGroup() as group:
        group.create_task(submit())
        for old in consumers:
            some = len(runs(witness)) + 5
            await until("it has work", lambda some=some: len(runs(witness)) > some)  # type: ignore[misc]
            old.signal(signal.SIGTERM)
            new = consumer(concurrency=4)
            assert await old.ended(60) == 0
            await new.ready(60)
        restarted.set()
    ends = await rig.final(*jobs, seconds=120)
    assert Counter((str(end.state), end.delivery) for end in ends) == {("succeeded", 0): len(jobs)}
    assert Counter(job for job, _ in runs(witness)) == Counter(str(job) for job in jobs)
