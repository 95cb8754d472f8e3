"""Heartbeats that are told to end in the very moment in which the consumer turns idle."""

import asyncio
from datetime import UTC, datetime

import pytest

from leveret.signals import Heartbeat
from leveret.version import VERSION
from leveret_consumer.load import AT_MOST_EVERY, Heartbeats, Load


@pytest.mark.parametrize("turns", range(5))
async def test_they_end_when_cancelled_as_the_consumer_turns_idle(turns: int) -> None:
    sent: list[Heartbeat] = []
    load = Load(1)

    async def send(beat: Heartbeat) -> None:
        sent.append(beat)

    running = asyncio.create_task(Heartbeats("pod", "q", load, lambda: datetime.now(UTC)).run(send))
    await asyncio.sleep(AT_MOST_EVERY + 0.3)
    load.hold()
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running}, timeout=30)
    assert running.cancelled()
    assert len(sent) in (1, 2)
    assert sent[0].leveret == VERSION
