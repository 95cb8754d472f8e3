"""Room for replies that are left to arrive: so many of one address, and of all."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

LEFT, LEFT_OF_ONE = 300, 150
TICK = 0.125  # s


@dataclass(slots=True, eq=False)
class _Waiting:
    address: str
    turn: asyncio.Future[None]
    moves: bool = False  # others of the same address


class Room:
    def __init__(self) -> None:
        self._left: Counter[str] = Counter()  # of each address
        self._waiting: dict[_Waiting, None] = {}  # the first is first

    def has(self, address: str) -> bool:
        return self._left[address] < LEFT_OF_ONE and self._left.total() < LEFT

    def take(self, address: str) -> None:
        self._left[address] += 1

    def let_go(self, address: str) -> None:
        self._left[address] -= 1
        if not self._left[address]:
            del self._left[address]
        for one in self._waiting:
            one.moves |= one.address == address
        first = (one.turn for one in self._waiting if not one.turn.done() and self.has(one.address))
        if turn := next(first, None):
            turn.set_result(None)

    async def find(self, address: str, within: float, over: Callable[[], bool], counts: Callable[[], int]) -> bool:
        """Wait for room, until it's `over` or none was made for this address for so long; tell whether there is.

        Counted is the time in which `counts` rises.
        """
        waited = 0.0
        while not over() and waited < within:
            counted = counts()
            one = _Waiting(address, asyncio.get_running_loop().create_future())
            self._waiting[one] = None
            try:
                await asyncio.wait([one.turn], timeout=TICK)
            finally:
                del self._waiting[one]
            if self.has(address):
                return True
            if one.moves:
                waited = 0.0
            elif counts() > counted:
                waited += TICK
        return False
