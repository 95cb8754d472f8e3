"""Look into the JSON of the Kubernetes API. What isn't there, or isn't what it should be, is empty or None."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from leveret_operator.jobqueue import NOT_KNOWN, BadSpec, Json
from leveret_operator.pods import Told


def map_in(parent: Json, key: str) -> Json:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}


def maps_in(parent: Json, key: str) -> list[Json]:
    value = parent.get(key)
    entries = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return [entry for entry in entries if isinstance(entry, Mapping)]


def whole(value: object, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, int | float | str):
        return int(value)
    raise BadSpec(f"{value!r} is no number")


def time_of(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def condition_in(status: Json, type_: str, value: str) -> Told | None:
    """Return a condition if it has that value."""
    for entry in maps_in(status, "conditions"):
        if entry.get("type") == type_ and entry.get("status") == value:
            since = time_of(entry.get("lastTransitionTime")) or NOT_KNOWN
            return Told(str(entry.get("reason") or type_), str(entry.get("message", "")), since)
    return None
