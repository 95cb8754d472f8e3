"""How long a client may take over each part of a request. Pure: the clock is an argument.

Whoever says nothing, or sends its request by the byte, holds a connection that others need, and has shown no token yet.
"""

from dataclasses import dataclass
from enum import Enum

FIRST_BYTE = 10.0  # s
HEAD = 5.0  # s from its first byte to its last
BODY = 20.0  # s, and one more for each LEAST_RATE that has come
LEAST_RATE = 4096  # bytes a second


class Part(Enum):
    NOTHING = "nothing"  # a new connection has said nothing yet
    HEAD = "head"
    BODY = "body"
    DONE = "done"  # it's our turn, or both are at rest


@dataclass(slots=True)
class Pace:
    """One connection's."""

    since: float
    part: Part = Part.NOTHING
    received: int = 0  # of the body

    def begins(self, part: Part, now: float) -> None:
        self.part, self.since, self.received = part, now, 0

    def is_late(self, now: float) -> bool:
        took = now - self.since
        if self.part is Part.NOTHING:
            return took > FIRST_BYTE
        if self.part is Part.HEAD:
            return took > HEAD
        return self.part is Part.BODY and took > BODY + self.received / LEAST_RATE
