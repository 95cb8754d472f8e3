"""How long a client may take over each part of its turn. Pure: the clock is an argument.

Whoever says nothing, or sends its request by the byte, or doesn't take its answer, holds a connection and memory that others
need. What comes earns time, but never more than each part has from the start: who was quick at first can't rest for it.
"""

import math
from dataclasses import dataclass, field
from enum import Enum

FIRST_BYTE = 10.0  # s
HEAD = 5.0  # s from its first byte to its last
BODY = 20.0  # s, and one more for each LEAST_RATE that comes
ANSWER = 60.0  # s for what the client is to take, likewise
REFUSED = 2.0  # s in which a client that is refused may still send, and read why: a close in the middle would reset it
LEAST_RATE = 4096  # bytes a second


class Part(Enum):
    NOTHING = "nothing"  # a new connection has said nothing yet
    HEAD = "head"
    BODY = "body"
    DONE = "done"  # it's our turn, or both are at rest
    ANSWER = "answer"
    REFUSED = "refused"


TIMES = {Part.NOTHING: FIRST_BYTE, Part.HEAD: HEAD, Part.BODY: BODY, Part.ANSWER: ANSWER, Part.REFUSED: REFUSED}


@dataclass(slots=True)
class Pace:
    """One connection's, in one direction."""

    part: Part
    since: float
    until: float = field(init=False)

    def __post_init__(self) -> None:
        self.begins(self.part, self.since)

    def begins(self, part: Part, now: float) -> None:
        self.part, self.since, self.until = part, now, now + TIMES.get(part, math.inf)

    def moved(self, size: int, now: float) -> None:
        """Count bytes that came, or were taken."""
        self.until = min(self.until + size / LEAST_RATE, now + TIMES.get(self.part, math.inf))

    def is_late(self, now: float) -> bool:
        return now > self.until
