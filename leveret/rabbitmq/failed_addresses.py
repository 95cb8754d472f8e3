"""Where replies could not be sent to lately: so many addresses at most, each for so long."""

from collections.abc import Callable

REMEMBERED_FOR = 60.0  # s
MOST = 1_000


class FailedAddresses:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}  # the one that was noted first is first

    def __contains__(self, address: str) -> bool:
        return self._until.get(address, -1.0) > self._clock()

    def __len__(self) -> int:
        return len(self._until)

    def note(self, address: str) -> None:
        self._until.pop(address, None)
        self._until[address] = self._clock() + REMEMBERED_FOR
        if len(self._until) > MOST:
            del self._until[next(iter(self._until))]

    def forget(self, address: str) -> None:
        self._until.pop(address, None)
