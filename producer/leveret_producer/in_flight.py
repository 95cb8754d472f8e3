"""How many bytes of requests this replica holds at once: being read, decoded and stored.

Each byte of a body costs a few of memory until its jobs are stored. What comes in is counted as it comes, so whoever
announces much and sends it slowly takes no more than it has sent. The last part is kept for small bodies: a few large
lists do not shut out all who submit one job.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from leveret_producer.problems import Refused

MOST, KEPT_FOR_SMALL = 48 << 20, 16 << 20  # bytes
SMALL = 64 << 10  # bytes of a body
RETRY_AFTER = 2  # s


class InFlight:
    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self.held = 0

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """What one request holds, until the end of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            share.give_back()

    def has_room(self, size: int, *, small: bool) -> bool:
        return self.held + size <= self._most - (0 if small else KEPT_FOR_SMALL)


class Share:
    def __init__(self, of: InFlight) -> None:
        self._of = of
        self._size = 0

    def add(self, size: int) -> bool:
        """Count bytes that came; False: there is no room for them."""
        if not self._of.has_room(size, small=self._size + size <= SMALL):
            return False
        self._size += size
        self._of.held += size
        return True

    def give_back(self) -> None:
        self._of.held -= self._size
        self._size = 0


def overloaded(kept: str, *, reads: bool) -> Refused:
    return Refused(
        "overloaded",
        f"This replica has as many bytes of requests in hand as it can have. {kept} Send it again in a few seconds.",
        headers={"Retry-After": str(RETRY_AFTER)},
        stored=None if reads else "no",
    )
