"""Read which dead letters a request means: some ids, a filter, or all; exactly one of the three.

A field that isn't known is refused, never ignored: a filter that was misspelt would else mean all.
"""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec

from leveret.jobs import DeadReason
from leveret_producer.posted import decoded, flawed
from leveret_producer.problems import Flaw

MOST_IDS = 10_000
KEPT = "Nothing was changed."
EXAMPLE = '{"ids": […]}, {"filter": {…}} or {"all": true}'

_Type = Annotated[str, msgspec.Meta(min_length=1)]
_Since = Annotated[datetime, msgspec.Meta(tz=True, description="Died then or later; with an offset")]
_Until = Annotated[datetime, msgspec.Meta(tz=True, description="Died before; with an offset")]
_Ids = Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=MOST_IDS)]


class DeadLetterFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which dead letters; what is not given is any."""

    reason: DeadReason | None = None
    type: _Type | None = None
    since: _Since | None = None
    until: _Until | None = None


class DeadLetterSelection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Exactly one of the three."""

    ids: _Ids | None = None
    filter: DeadLetterFilter | None = None
    all: bool | None = None

    @property
    def wanted(self) -> DeadLetterFilter:
        return self.filter or DeadLetterFilter()


_STRUCTS: dict[str, type[msgspec.Struct]] = {"": DeadLetterSelection, "filter": DeadLetterFilter}
_selection = msgspec.json.Decoder(DeadLetterSelection)


def read_selection(body: bytes) -> DeadLetterSelection:
    """Raise Refused for what can't be meant."""
    found = decoded(body, _selection, _STRUCTS, kept=KEPT, example=f"one of {EXAMPLE}")
    if flaw := _flaw(found):
        raise flawed(flaw, kept=KEPT)
    return found if found.filter is None else msgspec.structs.replace(found, filter=_in_utc(found.filter))


def _in_utc(filter: DeadLetterFilter) -> DeadLetterFilter:
    times: dict[str, datetime] = {}
    for name, at in (("since", filter.since), ("until", filter.until)):
        try:
            times |= {name: at.astimezone(UTC)} if at else {}
        except OverflowError:
            flaw = Flaw(f"/filter/{name}", "is not between the years 1 and 9999 in UTC")
            raise flawed(flaw, kept=KEPT) from None
    return msgspec.structs.replace(filter, **times)


def _flaw(found: DeadLetterSelection) -> Flaw | None:
    given = [name for name in ("ids", "filter", "all") if getattr(found, name) is not None]
    if len(given) != 1:
        said = f"has {' and '.join(given)}" if given else "names no dead letters"
        return Flaw("", f"{said}; send one of {EXAMPLE}")
    if found.all is False:
        return Flaw("/all", "must be true")
    if found.filter is None:
        return None
    if found.filter == DeadLetterFilter():
        return Flaw("/filter", 'is empty; send {"all": true} if all are meant')
    if "\0" in (found.filter.type or ""):
        return Flaw("/filter/type", "has a NUL character")
    if found.filter.since and found.filter.until and found.filter.since >= found.filter.until:
        return Flaw("/filter/until", "is not after since: no dead letter is meant")
    return None
