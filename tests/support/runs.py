"""Wait for what handlers in other processes do, and read which runs their witness saw."""

import asyncio
from collections.abc import Callable
from pathlib import Path


async def until(what: str, seen: Callable[[], bool], seconds: float = 60) -> None:
    """Fail with what was waited for, if it isn't seen in time."""
    try:
        async with asyncio.timeout(seconds):
            while not seen():  # noqa: ASYNC110 - what is looked at is in another process, or on the broker
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {seconds} s") from None


def runs(witness: Path, word: str = "start") -> list[tuple[str, int]]:
    """Job and attempt of each run that began or ended."""
    words = [line.split() for line in witness.read_text().splitlines() if line.startswith(word)]
    return [(job, int(attempt)) for _, job, attempt, _ in words]
