"""Commit a batch however long it takes, and find what of it never can be.

A database that is away is waited for. A batch that it refuses for its data is halved until what is bad stands alone; so
is one that takes it too long, until the parts are small enough, and one that whoever writes it fails on: a defect of ours
costs what shows it, and nothing else.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import structlog

from leveret_producer.store.postgres import DatabaseUnavailable, DataRefused, TookTooLong, TryAgain

log = structlog.get_logger(__name__)

One = TypeVar("One")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # s between tries
GIVEN_UP = 2  # times in a row that a batch took too long: once may be for a lock or a busy disk
_SAID = 500  # characters of an exception's text

Refused = list[tuple[One, str]]  # each with the reason


async def commit(items: Sequence[One], write: Callable[[Sequence[One]], Awaitable[Refused[One]]]) -> Refused[One]:
    """Have all items written, in as few calls as it takes; return those that were refused, by `write` or the database."""
    if not items:
        return []
    pause, given_up, failed = FIRST_PAUSE, 0, False
    while True:
        try:
            return await write(items)
        except (DatabaseUnavailable, TryAgain) as problem:
            given_up = given_up + 1 if isinstance(problem, TookTooLong) else 0
            if given_up >= GIVEN_UP and len(items) > 1:
                return await _halves(items, write)
            log.warning("events wait for the database", because=str(problem), next_try_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        except DataRefused as problem:
            if len(items) == 1:
                return [(items[0], str(problem))]
            return await _halves(items, write)
        except Exception as problem:  # noqa: BLE001 - the reason of what is refused
            if len(items) > 1:
                return await _halves(items, write)
            if failed:
                return [(items[0], defect(problem))]
            failed = True  # once more: it may have been for something that passes


def defect(problem: Exception) -> str:
    """Say that we failed, and where: of what is set aside for it, that is what there is to find the cause by."""
    frame = traceback.extract_tb(problem.__traceback__)[-1]
    said = str(problem).partition("\n")[0][:_SAID]
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"a defect of Leveret, to be reported: {type(problem).__name__} in {where}: {said}"


async def _halves(items: Sequence[One], write: Callable[[Sequence[One]], Awaitable[Refused[One]]]) -> Refused[One]:
    half = len(items) // 2
    return [*await commit(items[:half], write), *await commit(items[half:], write)]
