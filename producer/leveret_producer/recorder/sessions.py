"""What the recorders' sessions have in common."""

import asyncio
from collections.abc import Coroutine

from leveret.ending import end
from leveret.rabbitmq.publisher import Publisher
from leveret_producer.outbox.together import together


async def until_stopped(stopping: asyncio.Event, publisher: Publisher, work: Coroutine[object, object, None]) -> None:
    """Run `work` to its end; raise BrokerGone once nothing can be published any more."""
    await together(work, _watch(stopping, publisher))


async def _watch(stopping: asyncio.Event, publisher: Publisher) -> None:
    stopped, closed = asyncio.create_task(stopping.wait()), asyncio.create_task(publisher.closed())
    try:
        await asyncio.wait({stopped, closed}, return_when=asyncio.FIRST_COMPLETED)
        if closed.done():
            await closed
    finally:
        await end((stopped, closed))
