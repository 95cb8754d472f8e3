"""Run what shares one connection: it ends together, and its end has one reason."""

import asyncio
from collections.abc import Coroutine

from leveret.rabbitmq.connection import BrokerErrors, BrokerGone


async def together(*parts: Coroutine[object, object, None]) -> None:
    """Run all until one fails; raise BrokerGone if it was for the broker, else the group of what was raised."""
    gone: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            for part in parts:
                tasks.create_task(whole(part))
    except* (BrokerGone, *BrokerErrors) as problems:
        gone = problems
        while isinstance(gone, BaseExceptionGroup):
            gone = gone.exceptions[0]
    if gone is not None:
        raise BrokerGone(str(gone)) from gone


async def whole(part: Coroutine[object, object, None]) -> None:
    """Have a call that the client library cancelled, because its channel is gone, end the others, too."""
    try:
        await part
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerGone("the channel was closed") from None
