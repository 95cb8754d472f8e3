"""Delays of every way in, with a producer that is restarted meanwhile: none is early, and none is late.

The suite has few and short ones; all that was promised takes two minutes: `LEVERET_TEST_DELAYS=500x120 pytest -s` of this file.
`500x120xkill` kills the producer, which then has no chance to give back what it is publishing.
"""

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from producers import eventually_true, operating
from two_versions import Door, Stage, today

from leveret import topology, wire
from leveret.jobs import Envelope
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database

QUEUE = "leveret.under-test"
JOBS, LONGEST, *HOW = os.environ.get("LEVERET_TEST_DELAYS", "60x8").split("x")
LATE, LATE_BY_RESTART = 2.0, 10.0  # s, at most
RESTART_LASTS = 10.0  # s


@dataclass(frozen=True)
class Asked:
    """A delay of so many seconds, which began between these two moments; those of a retry are known later."""

    way: str
    seconds: float
    began: tuple[float, float]


async def ask(door: Door, publisher: Publisher, way: str, seconds: float) -> tuple[str, Asked]:
    before = time.time()
    if way == "HTTP":
        asked: dict[str, Any] = {"type": "now", "payload": 0, "delay": f"{round(seconds * 1000)}ms"}
        (job,) = await door.submit(QUEUE, asked)
    else:
        job = str(uuid4())
        headers = {wire.DELAY: f"{round(seconds * 1000)}ms"} if way == "AMQP" else {}
        kind, payload = ("now", b"0") if way == "AMQP" else ("later", str(seconds).encode())
        message = wire.to_message(Envelope(UUID(job), QUEUE, kind, payload), headers)
        await publisher.publish(topology.JOBS, QUEUE, message)
    return job, Asked(way, seconds, (before, time.time()))


def moment(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def lateness(asked: Asked, job: dict[str, Any]) -> tuple[float, float, float]:
    """Return when it ran, and how late that was at least and at most; s."""
    began, end = asked.began, job["attempts"][-1]["started_at"]
    if asked.way == "RetryLater":
        first, _ = job["attempts"]
        began = moment(first["started_at"]), moment(first["finished_at"])
    return moment(end), moment(end) - began[1] - asked.seconds, moment(end) - began[0] - asked.seconds


@pytest.mark.timeout(float(LONGEST) + 110)
async def test_no_delay_is_early_or_late_though_a_producer_is_restarted(
    broker: Broker, database: Database, tmp_path: Path
) -> None:
    draw, count, longest = random.Random(6), int(JOBS), float(LONGEST)
    stage = Stage(broker, database, tmp_path)
    async with stage.open, operating(broker, QUEUE) as publisher:
        consumer = stage.consumer(today(), QUEUE, Path(__file__).with_name("delay_jobs.py"))
        stopped, other = [await stage.producer(today()) for _ in range(2)]
        for door in (stopped, other):
            await door.ready(QUEUE)
        ways = ["HTTP", "RetryLater", "AMQP"] * -(-count // 3)
        asked = dict([
            await ask(other, publisher, way, round(draw.uniform(1, longest), 3)) for way in ways[:count]
        ])  # fmt: skip

        await asyncio.sleep(longest / 3)
        restarted = time.time()
        stopped.program.process.send_signal(signal.SIGKILL if HOW else signal.SIGTERM)
        await asyncio.to_thread(stopped.program.process.wait)
        await stage.producer(today())

        async def all_ended() -> bool:
            page = await other.get("/v1/jobs", queue=QUEUE, state="succeeded", limit=500)
            found.update({job["id"]: job for job in page["jobs"] if job["id"] in asked})
            return len(found) == count

        found: dict[str, dict[str, Any]] = {}
        await eventually_true(all_ended, "all have ended", seconds=longest + 60)
        assert consumer.runs(), consumer.log.read_text()

    ran = [(one, *lateness(one, found[job])) for job, one in asked.items()]
    for way in ("HTTP", "RetryLater", "AMQP"):
        of_it = [(least, most) for one, _, least, most in ran if one.way == way]
        early, latest = sum(most < 0 for _, most in of_it), max(least for least, _ in of_it)
        print(f"{way}: {len(of_it)} delays, {early} early, the latest by {latest:.2f} s")
    assert not [(one, most) for one, _, _, most in ran if most < 0], "early"
    late = [(one, least, at - restarted) for one, at, least, _ in ran if least > LATE]
    assert not [one for one in late if not (-LATE <= one[2] - one[1] <= RESTART_LASTS and one[1] <= LATE_BY_RESTART)], (
        late
    )
    assert {len(found[job]["attempts"]) for job, one in asked.items() if one.way != "RetryLater"} == {1}, "run twice"
