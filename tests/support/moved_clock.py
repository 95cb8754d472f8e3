"""A loop whose clock is moved: what waits for hours is over at once."""

import asyncio
from collections.abc import Callable
from typing import Any


def move_clock(loop: Any) -> Callable[[float], None]:
    """Return what moves the clock of this loop on by so many seconds."""
    true, ahead = loop.time, [0.0]
    loop.time = lambda: true() + ahead[0]

    def move(seconds: float) -> None:
        ahead[0] += seconds

    return move


async def turns(count: int = 20) -> None:
    """Let everybody go on who can."""
    for _ in range(count):
        await asyncio.sleep(0)
