"""An id in a path."""

from uuid import UUID

from leveret_producer.problems import Flaw, Refused


def read_id(id: str, what: str) -> UUID:
    """Raise Refused for what is no UUID; `what` it is meant to be is said then."""
    try:
        return UUID(id)
    except ValueError:
        detail = f"{id[:100]!r} is not {what}: that is a UUID."
        raise Refused("invalid-request", detail, [Flaw("/id", "is not a UUID")]) from None
