"""Publish a batch of events, also while the broker can't make `leveret.events` and they are set aside.

What the store is asked to publish lives in its event alone: set aside, nobody would publish it. So then the broker has it wait.
"""

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial

from leveret import events, next_attempts, topology
from leveret.events import JobEvent
from leveret.rabbitmq.publisher import LATE_CONFIRM_TIMEOUT, Publisher, persistent_json


async def publish(
    publisher: Publisher, batch: Sequence[JobEvent], queue: str, unmade: Collection[str], now: datetime
) -> None:
    """Return once the broker has them, and those next attempts; `unmade` are the queues that it can't make.

    Raises NotConfirmed. What then is published again may be there twice, as any copy.
    """
    send = partial(publisher.publish, timeout=LATE_CONFIRM_TIMEOUT)
    next_ones = [next_attempts.message(queue, one, now) for one in batch] if topology.EVENTS in unmade else []
    told = [next_attempts.told(one) for one in batch] if next_ones else list(batch)
    # First, because it may be refused again and again. That the queue can't be made may be found out by it.
    message, asks = persistent_json(events.encode(told)), any(one.publish_at for one in told)
    await send(topology.EVENTS, f"job.{queue}", message, only_there=asks)
    await asyncio.gather(*(send(one[0], queue, one[1]) for one in next_ones if one))
