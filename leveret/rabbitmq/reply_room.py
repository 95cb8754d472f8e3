"""Room for replies that are under way: so many to one address, and to all. The others wait for it, in their order."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

MOST, MOST_TO_ONE = 300, 150
TICK = 0.125  # s


@dataclass(slots=True, eq=False)
class _Waiting:
    address: str
    turn: asyncio.Future[None]


class Room:
    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()  # to each address
        self._left: Counter[str] = Counter()  # so far, of each address that has some under way
        self._left_in_all = 0
        self._waiting: dict[_Waiting, None] = {}  # the first is first

    def take(self, address: str) -> bool:
        """Take a place, if there is one; tell whether there is."""
        if self.is_full_of(address) or self._under_way.total() >= MOST:
            return False
        self._under_way[address] += 1
        return True

    def is_full_of(self, address: str) -> bool:
        return self._under_way[address] >= MOST_TO_ONE

    def let_go(self, address: str) -> None:
        """Leave a place to the first who waits for such a one."""
        self._left[address] += 1
        self._left_in_all += 1
        self._under_way[address] -= 1
        if not self._under_way[address]:
            del self._under_way[address], self._left[address]
        if first := next((one for one in self._waiting if not one.turn.done() and self.take(one.address)), None):
            first.turn.set_result(None)

    async def wait(self, address: str, within: float, over: Callable[[], bool], counts: Callable[[], int]) -> bool:
        """Wait for a place and take it; give up once it's `over`, or for so long nobody left one of those that are lacking.

        Counted is the time in which `counts` rises.
        """
        one, waited = _Waiting(address, asyncio.get_running_loop().create_future()), 0.0
        self._waiting[one] = None
        try:
            while waited < within and not over():
                before = counts(), self._left_of(address)
                await asyncio.wait([one.turn], timeout=TICK)
                if one.turn.done():
                    return True
                waited = 0.0 if self._left_of(address) != before[1] else waited + (TICK if counts() > before[0] else 0)
        except asyncio.CancelledError:
            if one.turn.done():
                self.let_go(address)
            raise
        finally:
            del self._waiting[one]
        return False

    def _left_of(self, address: str) -> int:
        return self._left[address] if self.is_full_of(address) else self._left_in_all
