"""Commit a batch however long it takes, and find what of it never can be.

A database that is away is waited for. A batch that it refuses for its data is halved until what is bad stands alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from leveret_producer.store.postgres import DatabaseUnavailable, DataRefused, TryAgain

log = structlog.get_logger(__name__)

One = TypeVar("One")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # s between tries


async def commit(items: Sequence[One], write: Callable[[Sequence[One]], Awaitable[None]]) -> list[tuple[One, str]]:
    """Have all items written, in as few calls as it takes; return those that were refused, each with the reason."""
    if not items:
        return []
    pause = FIRST_PAUSE
    while True:
        try:
            await write(items)
        except (DatabaseUnavailable, TryAgain) as problem:
            log.warning("events wait for the database", because=str(problem), next_try_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        except DataRefused as problem:
            if len(items) == 1:
                return [(items[0], str(problem))]
            half = len(items) // 2
            return [*await commit(items[:half], write), *await commit(items[half:], write)]
        else:
            return []
