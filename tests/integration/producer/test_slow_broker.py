"""A broker that confirms everything, only late: each job is published once, and no fault is told of."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import pytest
from producers import QUEUE, Producer, eventually_true, known, message_ids, operating, producing, ready
from slow_broker import confirming_at

from leveret.settings import Broker, Database

# Of each replica's connection; the last one confirms in bursts.
LATE: tuple[Callable[[float], float], ...] = (
    lambda at: at + 16,
    lambda at: at + 32,
    lambda at: at + 20 - at % 20,
)


async def submit(producer: Producer, jobs: int) -> set[str]:
    answer = await producer.submit(*({"type": "free", "payload": number} for number in range(jobs)))
    assert answer.status_code == 202, answer.text
    return {job["id"] for job in answer.json()["jobs"]}


@pytest.mark.timeout(300)
async def test_a_broker_that_confirms_late_gets_each_job_once(broker: Broker, database: Database) -> None:
    """Leases ran out while a confirm was awaited, and after 30 s without one a job was published again."""
    async with (
        operating(broker, QUEUE),
        confirming_at(broker, LATE[0]) as late,
        confirming_at(broker, LATE[1]) as very_late,
        confirming_at(broker, LATE[2]) as in_bursts,
        producing(late, database, "producer-a") as a,
        producing(very_late, database, "producer-b") as b,
        producing(in_bursts, database, "producer-c") as c,
    ):
        for producer in (a, b, c):
            await ready(producer)
            await known(producer)
        began = time.monotonic()
        accepted = await submit(a, 800)  # more than a window: some wait in memory, and are given back
        accepted |= await submit(b, 50) | await submit(c, 50)
        for _ in range(10):
            await asyncio.sleep(1)
            accepted |= await submit(a, 5) | await submit(c, 5)

        async def noted() -> bool:
            return not (await a.http.get("/v1/jobs?state=accepted&limit=1")).json()["jobs"]

        await eventually_true(noted, "all are confirmed, and noted", seconds=180)
        assert time.monotonic() - began > 32
        arrived = Counter(await message_ids(broker, QUEUE))
        assert arrived.keys() == accepted
        assert {one for one, times in arrived.items() if times > 1} == set()
