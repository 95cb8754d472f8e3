"""What the recorders' sessions have in common."""

import asyncio
from collections.abc import Coroutine

from leveret.ending import end
from leveret.rabbitmq.publisher import Publisher
from leveret_producer.outbox.together import together
from leveret_producer.recorder.answers import Answers


async def until_stopped(
    stopping: asyncio.Event, publisher: Publisher, work: Coroutine[object, object, None], answers: Answers
) -> None:
    """Run `work` to its end; raise BrokerGone once nothing can be published any more."""
    await together(work, _watch(stopping, publisher, answers))
    await answers.finish()


async def _watch(stopping: asyncio.Event, publisher: Publisher, answers: Answers) -> None:
    stopped = asyncio.create_task(stopping.wait())
    others = asyncio.create_task(publisher.closed()), asyncio.create_task(answers.watch())
    try:
        await asyncio.wait({stopped, *others}, return_when=asyncio.FIRST_COMPLETED)
        for other in others:
            if other.done():
                await other
    finally:
        await end((stopped, *others))
