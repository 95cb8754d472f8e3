"""End tasks so that they have ended, and whoever ends them can still be cancelled."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
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
        looked_at(task)


def looked_at(done: asyncio.Future[Any]) -> None:
    """Look at what it came to, also as its done-callback: an exception that nobody waits for would be reported as never seen."""
    if not done.cancelled():
        done.exception()


async def together(
    *works: Coroutine[None, None, None],
    until: str = asyncio.FIRST_COMPLETED,
    before_the_others: Callable[[], None] = lambda: None,
) -> None:
    """Run all until one returns or raises, or all do; then cancel the others, some of whom may wait for the broker once more."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=until)
        for task in done:
            task.result()
    finally:
        before_the_others()
        await end(tasks)
