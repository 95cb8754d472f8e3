"""End tasks so that they have ended, and whoever ends them can still be cancelled."""

import asyncio
from collections.abc import Iterable
from typing import Any

ASKS_AGAIN_AFTER = 1.0  # s


async def end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel all and wait; ask again each second, because a wait that ends in that moment may swallow the cancellation.

    What they raise is not raised here. A cancellation of the caller is, and then the tasks are not waited for.
    """
    tasks = list(tasks)
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=ASKS_AGAIN_AFTER)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at: whoever cares has raised it
