"""Jobs that are cancelled, on a real broker: those that wait never start, those that run end, and their neighbours go on."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from containers import Server
from runs import until

from leveret import control, topology, wire
from leveret.control import CancelRule
from leveret.events import JobEvent
from leveret.jobs import Envelope
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.declare import declare
from leveret.rabbitmq.publisher import Publisher
from leveret_consumer.dead_letter_source import job_made_of

QUEUE, OTHER = "leveret.under-test", "leveret.other"
JOBS = "cancel_jobs:handlers"
SECONDS = 1_000_000 + os.getpid()  # which no other process on this machine sleeps


def lines(witness: Path, word: str) -> set[UUID]:
    return {UUID(line.split()[1]) for line in witness.read_text().splitlines() if line.startswith(word)}


async def left(command: str) -> int:
    """Return 0 if such a process runs, and 1 if none does."""
    return (await asyncio.to_thread(subprocess.run, ["pgrep", "-f", command], check=False)).returncode


def states(ends: list[JobEvent]) -> list[str]:
    return [str(end.state) for end in ends]


async def test_those_that_run_end_are_answered_and_their_neighbours_go_on(
    rig: Any, consumer: Callable[..., Any], witness: Path, tmp_path: Path
) -> None:
    gate, answers = tmp_path / "gate", await (await rig.connection.channel()).declare_queue(exclusive=True)
    payload = {"witness": witness, "gate": gate, "seconds": SECONDS}
    await consumer(handlers=JOBS, concurrency=5).ready()
    pools = ["loop", "thread", "process"]
    jobs = [await rig.submit(pool, payload, reply_to=answers.name, correlation_id=pool) for pool in pools]
    neighbours = [await rig.submit(pool, payload) for pool in pools[:2]]
    await until("all run", lambda: lines(witness, "start") == {*jobs, *neighbours})
    await rig.cancel(*jobs)
    ends = await rig.final(*jobs)
    assert states(ends) == ["cancelled"] * 3
    assert all(end.started_at and end.run_seconds is not None and end.error is None for end in ends)
    assert lines(witness, "interrupted") == {*jobs[:2]}
    assert await left(f"sleep {SECONDS}") == 1, "its group is killed"
    replies = {}
    for _ in pools:
        reply = await answers.get(no_ack=True, timeout=60)
        replies[reply.correlation_id] = reply.headers["leveret-outcome"]
    assert replies == dict.fromkeys(pools, "cancelled")
    gate.touch()
    assert states(await rig.final(*neighbours)) == ["succeeded"] * 2
    assert rig.dead_letters == []


async def test_those_that_wait_never_start_wherever_they_are(
    rig: Any, consumer: Callable[..., Any], witness: Path, tmp_path: Path
) -> None:
    """In the queue, at their slot, in a delay level; and one of another queue with the same id is left alone."""
    gate = tmp_path / "gate"
    payload = {"witness": witness, "gate": gate}
    before = await rig.submit("loop", payload)
    await rig.cancel(before)
    await consumer(handlers=JOBS, concurrency=2).ready()
    delayed = await rig.submit("fail", payload)
    await rig.retrying(delayed)
    runs, stopped, at_its_slot, other = [await rig.submit("loop", payload) for _ in range(4)]
    await until("two run", lambda: lines(witness, "start") == {delayed, runs, stopped})
    await rig.cancel(other, queue=OTHER)
    await rig.cancel(delayed, at_its_slot, stopped)
    await until("that is heard of", lambda: lines(witness, "interrupted") == {stopped})
    gate.touch()
    assert states(await rig.final(runs, other)) == ["succeeded"] * 2
    ends = await rig.final(before, delayed, at_its_slot, stopped)
    assert [(str(end.state), end.attempt) for end in ends] == [("cancelled", n) for n in (1, 2, 1, 1)]
    assert lines(witness, "start") == {delayed, runs, stopped, other}
    assert await rig.ready_messages() == 0


async def test_of_many_that_a_rule_means_none_starts_though_consumers_and_broker_are_killed(
    rig: Any, consumer: Callable[..., Any], witness: Path, tmp_path: Path, rabbitmq: Server
) -> None:
    gate = tmp_path / "gate"
    runs = await rig.submit("loop", {"witness": witness, "gate": gate})
    one = consumer(handlers=JOBS, concurrency=1)
    await one.ready()
    await until("it runs", lambda: lines(witness, "start") == {runs})
    jobs = [
        await rig.submit("loop", {"witness": witness, "gate": gate}, submitted_at=datetime.now(UTC)) for _ in range(300)
    ]
    now = datetime.now(UTC) + timedelta(milliseconds=2)
    await asyncio.sleep(0.01)
    later = await rig.submit("loop", {"witness": witness, "gate": gate}, submitted_at=datetime.now(UTC))
    await rig.tell(CancelRule(QUEUE, now, control.until(now), type="loop", since=now - timedelta(minutes=5)))
    await rig.settle()
    await asyncio.sleep(1)
    one.signal(signal.SIGKILL)
    await one.ended()
    await asyncio.to_thread(rabbitmq.kill)
    await asyncio.to_thread(rabbitmq.start)
    async with await open_connection(rig.broker, "again") as rig.connection:
        await rig.listen()
        gate.touch()
        await consumer(handlers=JOBS, concurrency=4).ready()
        ends = await rig.final(*jobs, later)
    assert states(ends) == ["cancelled"] * 300 + ["succeeded"]
    assert lines(witness, "start") == {runs, later}


async def test_a_job_that_is_made_of_a_dead_letter_is_cancelled_by_its_own_id(
    rig: Any, consumer: Callable[..., Any]
) -> None:
    await declare(await rig.connection.channel(), topology.for_queue(OTHER))
    dead, rule_for = Envelope(uuid4(), OTHER, "loop", b"{}", attempt=5), datetime.now(UTC) + timedelta(days=1)
    job = job_made_of(dead.id, 1, QUEUE)
    await rig.tell(CancelRule(QUEUE, rule_for, rule_for))  # which can't judge it
    await rig.cancel(job)
    await (await Publisher.open(rig.connection)).publish(topology.DEAD, OTHER, wire.to_message(dead))
    one = consumer(handlers=JOBS, source_queue=f"{OTHER}.dead")
    await one.ready()
    (end,) = await rig.final(job)
    assert str(end.state) == "cancelled"
    one.signal(signal.SIGTERM)
    assert await one.ended() == 0
    assert await rig.messages(f"{OTHER}.dead") == [0]


async def test_a_flood_of_cancels_reaches_those_that_run_within_a_second(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    """1,000 a minute, as a producer tells them: one message in half a second."""
    await consumer(handlers=JOBS, concurrency=200).ready()
    jobs = [await rig.submit("loop", {"witness": witness}) for _ in range(200)]
    await until("all run", lambda: lines(witness, "start") == {*jobs})
    told: dict[UUID, float] = {}
    for n in range(0, len(jobs), 8):
        told |= dict.fromkeys(jobs[n : n + 8], time.time())
        await rig.cancel(*jobs[n : n + 8])
        await asyncio.sleep(0.48)
    assert states(await rig.final(*jobs)) == ["cancelled"] * 200
    heard = {}
    for line in witness.read_text().splitlines():
        if line.startswith("interrupted"):
            _, job, _, at = line.split()
            heard[UUID(job)] = float(at) - told[UUID(job)]
    slowest = sorted(heard.values())
    assert len(slowest) == 200
    print(f"interrupted after {slowest[100] * 1000:.0f} ms (median), {slowest[197] * 1000:.0f} ms (p99)")
    assert slowest[197] < 1
