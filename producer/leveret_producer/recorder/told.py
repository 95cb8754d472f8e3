"""What was told of queues, put in the order in which it is written; of what only the newest counts, the newest alone."""

from collections.abc import Iterable
from datetime import UTC, datetime

from leveret.events import (
    HandlersRegistered,
    JobQueuesListed,
    QueueDecided,
    QueueDefined,
    QueueEvent,
    QueueObserved,
    QueueRemoved,
)

# A queue (or namespace), and what is said about it.
Told = tuple[str, HandlersRegistered | JobQueuesListed | QueueEvent]

# Each table has its turn, and a list comes after what it may be about.
_KINDS = (QueueDefined, QueueRemoved, QueueObserved, JobQueuesListed, HandlersRegistered, QueueDecided)
_EVER = datetime.min.replace(tzinfo=UTC)
_Place = tuple[int, str, str, datetime]  # kind, queue, version of handlers, time of a decision: one of each is written


def ordered(told: Iterable[Told]) -> list[Told]:
    """Return what is to be written, in an order that depends on nothing but what it is about."""
    kept: dict[_Place, Told] = {}
    for name, event in told:
        version = event.version if isinstance(event, HandlersRegistered) else ""
        at = event.at if isinstance(event, QueueDecided) else _EVER
        place = (_KINDS.index(type(event)), name, version, at)
        if place not in kept or not _older((name, event), kept[place]):
            kept[place] = (name, event)
    return [kept[place] for place in sorted(kept)]


def _older(one: Told, other: Told) -> bool:
    """Registrations have no time: the last to come counts, of consumers that have just started."""
    if isinstance(one[1], HandlersRegistered) or isinstance(other[1], HandlersRegistered):
        return isinstance(one[1], HandlersRegistered) and one[1].again
    return one[1].at < other[1].at
