"""Whether the broker still has us as a consumer, though it never said otherwise.

A consumer that was cancelled is told so, but the message can get lost on the broker's side, for example when a queue
moves. The consumer then believes to be subscribed for ever. What tells, on AMQP alone, is a look at the queue every 5 s:
nobody consumes it, or messages are ready, there is room for them here, and none comes. Either can be so for a moment, so
it counts when a second look, 2 s later, finds it again and nothing was delivered in between.
"""

from dataclasses import dataclass

LOOKS_EVERY = 5.0  # s
LOOKS_AGAIN_AFTER = 2.0  # s


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at queue and subscription finds."""

    consumers: int  # of the queue, wherever they are
    ready: int
    delivered: int  # to this subscription since it began
    room: bool  # it holds less than its prefetch
    shares: bool = True  # whether each of the queue's consumers gets some; no if only one of them is active

    @property
    def suspicious(self) -> bool:
        return self.consumers == 0 or (self.shares and self.ready > 0 and self.room)


def next_look(found: Look | None) -> float:
    """Return in how many seconds to look again."""
    return LOOKS_AGAIN_AFTER if found and found.suspicious else LOOKS_EVERY


def lost(before: Look | None, found: Look) -> bool:
    """Tell whether the subscription is one that the broker does not have any more."""
    return before is not None and before.suspicious and found.suspicious and before.delivered == found.delivered
