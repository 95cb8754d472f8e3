"""What many ask for at once is made once, and what was made is kept for a moment only.

Who leaves doesn't end what others wait for. An error is told to those who waited for it, and to nobody else.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

KEPT_FOR = 2.0  # s from when it is there
KEPT_AT_MOST = 8


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Shared(Generic[K, V]):
    """`make(key)` for all who ask for the key while it is made, or within a moment after."""

    def __init__(self, make: Callable[[K], Awaitable[V]]) -> None:
        self._make = make
        self._being_made: dict[K, asyncio.Future[V]] = {}
        self._kept: dict[K, V] = {}

    async def get(self, key: K) -> V:
        if key in self._kept:
            return self._kept[key]
        if key not in self._being_made:
            made = self._being_made[key] = asyncio.ensure_future(self._make(key))
            made.add_done_callback(lambda made: self._keep(key, made))
        return await asyncio.shield(self._being_made[key])

    def _keep(self, key: K, made: asyncio.Future[V]) -> None:
        """Taking the error also of what everybody has left: else asyncio complains that nobody did."""
        del self._being_made[key]
        if made.cancelled() or made.exception() is not None:
            return
        if len(self._kept) >= KEPT_AT_MOST:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = made.result()
        made.get_loop().call_later(KEPT_FOR, self._drop, key, made.result())

    def _drop(self, key: K, made: V) -> None:
        if key in self._kept and self._kept[key] is made:
            del self._kept[key]
