"""The delay levels are shared by all queues: one queue's trouble must not move another one's retries.

A level hands back at most 32 messages at once that the broker has not been able to place, and tries again to place one
that was refused only after 180 s. So nothing may refuse what comes back.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from leveret import topology
from leveret.rabbitmq.declare import declare
from leveret.rabbitmq.publisher import Publisher

FULL, GONE = "leveret.full", "leveret.gone"
WAITING = 2_000  # above what its front door lets in: the limit is there, and not in the broker
RETRIES = 100  # of each, more than a level has in flight


@pytest.mark.timeout(300)
async def test_a_full_queue_and_a_deleted_one_do_not_move_a_third_ones_retries(
    rig: Any, consumer: Callable[..., Any], witness: Path
) -> None:
    await declare(await rig.connection.channel(), topology.for_queue(FULL))
    await declare(await rig.connection.channel(), topology.for_queue(GONE))
    await (await rig.connection.channel()).queue_delete(GONE)
    publisher = await Publisher.open(rig.connection)
    await several(publisher, topology.JOBS, FULL, WAITING)
    await consumer().ready()
    for level in (0, 1):
        await several(publisher, topology.delay_exchange(level), FULL, RETRIES)
        await several(publisher, topology.delay_exchange(level), GONE, RETRIES)
    jobs = [await rig.submit("fail-slowly", {"witness": witness, "times": 2}) for _ in range(20)]
    ends = await rig.final(*jobs, seconds=150)  # one that is stalled waits for 180 s
    assert {str(end.state) for end in ends} == {"succeeded"}
    for job in jobs:
        starts = [event.started_at for event in rig.ends(job)]
        # From start to start: the report of a failure is made only after its copy is in the delay level.
        assert [later - earlier >= timedelta(seconds=0.9) for earlier, later in pairwise(starts)] == [True, True]
    await placed(rig, {FULL: WAITING + 2 * RETRIES, topology.UNROUTABLE: 2 * RETRIES})


async def several(publisher: Publisher, exchange: str, queue: str, count: int) -> None:
    await asyncio.gather(*(publisher.publish(exchange, queue, aio_pika.Message(b"{}")) for _ in range(count)))


async def placed(rig: Any, expected: dict[str, int]) -> None:
    """Wait until all that came back is where it should be."""
    for _ in range(600):
        found = await rig.messages(*expected)
        if found == list(expected.values()):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{dict(zip(expected, found, strict=True))} and not {expected}")
