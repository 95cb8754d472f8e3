"""What many ask for at once is made once, and kept for a moment only.

Who leaves doesn't end what others wait for. What is kept is dropped when its time is over, whether or not anybody comes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

KEPT_FOR = 2.0  # s
KEPT_AT_MOST = 8


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Shared(Generic[K, V]):
    """`make(key)` for all who ask for the key within a moment, errors included."""

    def __init__(self, make: Callable[[K], Awaitable[V]], clock: Callable[[], float]) -> None:
        self._make, self._clock = make, clock
        self._kept: dict[K, tuple[float, asyncio.Future[V]]] = {}

    async def get(self, key: K) -> V:
        now = self._clock()
        for old, (since, _) in list(self._kept.items()):
            if not now - KEPT_FOR < since <= now:
                del self._kept[old]
        if key not in self._kept:
            if len(self._kept) >= KEPT_AT_MOST:
                del self._kept[next(iter(self._kept))]
            made = asyncio.ensure_future(self._make(key))
            made.add_done_callback(_look_at)
            self._kept[key] = now, made
            asyncio.get_running_loop().call_later(KEPT_FOR, self._drop, key, made)
        return await asyncio.shield(self._kept[key][1])

    def _drop(self, key: K, made: asyncio.Future[V]) -> None:
        """One that isn't done yet is still waited for."""
        if key in self._kept and self._kept[key][1] is made and made.done():
            del self._kept[key]


def _look_at(made: asyncio.Future[V]) -> None:
    """Take the error of what everybody has left: else asyncio complains that nobody did."""
    if not made.cancelled():
        made.exception()
