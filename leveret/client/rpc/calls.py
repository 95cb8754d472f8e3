"""The calls that wait for an answer: each has exactly one end, and no other's.

An answer is for the call whose correlation id it bears. One that nobody waits for (any more) is an *orphan*: counted, and
nothing else. Whoever ends a call takes it out of the table, so a second end finds nothing. What wakes the caller is a value
of the adapter's, and only kept here.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from leveret.client.rpc.errors import Published

W = TypeVar("W")


@dataclass(slots=True)
class Call(Generic[W]):
    waiter: W
    published: Published = Published.NO


class Calls(Generic[W]):
    def __init__(self) -> None:
        self._waiting: dict[str, Call[W]] = {}
        self.orphans = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, correlation_id: str, waiter: W) -> None:
        self._waiting[correlation_id] = Call(waiter)

    def note(self, correlation_id: str, published: Published) -> None:
        """Note how far a call has come; nothing where it has ended."""
        if call := self._waiting.get(correlation_id):
            call.published = published

    def answered(self, correlation_id: str | None) -> Call[W] | None:
        """End a call by an answer; None for an orphan."""
        call = self.end(correlation_id or "")
        self.orphans += call is None
        return call

    def end(self, correlation_id: str) -> Call[W] | None:
        """End a call in another way: its time is over, its caller is gone, or it can't be sent."""
        return self._waiting.pop(correlation_id, None)

    def lose(self) -> list[Call[W]]:
        """End those whose answer can't come any more: all that were sent. The others are still to be sent."""
        lost = [key for key, call in self._waiting.items() if call.published is not Published.NO]
        return [self._waiting.pop(key) for key in lost]

    def end_all(self) -> list[Call[W]]:
        ended, self._waiting = list(self._waiting.values()), {}
        return ended

    def waiters(self) -> list[W]:
        return [call.waiter for call in self._waiting.values()]
