"""Read which jobs a request means: some ids, a filter, or all; exactly one of the three.

A field that isn't known is refused, never ignored: a filter that was misspelt would else mean all.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol, TypeVar
from uuid import UUID

import msgspec

from leveret_producer.posted import decoded, flawed
from leveret_producer.problems import Flaw

MOST_IDS = 10_000
KEPT = "Nothing was changed."
EXAMPLE = '{"ids": […]}, {"filter": {…}} or {"all": true}'

Type = Annotated[str, msgspec.Meta(min_length=1)]
Ids = Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=MOST_IDS)]


class Filter(Protocol):
    """What is not given is any."""

    @property
    def type(self) -> str | None: ...
    @property
    def since(self) -> datetime | None: ...
    @property
    def until(self) -> datetime | None: ...


class Selection(Protocol):
    @property
    def ids(self) -> Sequence[UUID] | None: ...
    @property
    def filter(self) -> Any: ...
    @property
    def all(self) -> bool | None: ...


S = TypeVar("S", bound=Selection)


def read(body: bytes, decoder: msgspec.json.Decoder[S], selection: type[S], wanted: type[Any], *, jobs: str) -> S:
    """Raise Refused for what can't be meant; `jobs` are what the request is about, in words. Times are in UTC then."""
    structs: Any = {"": selection, "filter": wanted}
    found = decoded(body, decoder, structs, kept=KEPT, example=f"one of {EXAMPLE}")
    if flaw := _flaw(found, wanted(), jobs):
        raise flawed(flaw, kept=KEPT)
    changed: Any = found
    return found if found.filter is None else msgspec.structs.replace(changed, filter=_in_utc(found.filter))


def _in_utc(filter: Any) -> Any:
    times: dict[str, datetime] = {}
    for name, at in (("since", filter.since), ("until", filter.until)):
        try:
            times |= {name: at.astimezone(UTC)} if at else {}
        except OverflowError:
            flaw = Flaw(f"/filter/{name}", "is not between the years 1 and 9999 in UTC")
            raise flawed(flaw, kept=KEPT) from None
    return msgspec.structs.replace(filter, **times)


def _flaw(found: Selection, empty: Filter, jobs: str) -> Flaw | None:
    given = [name for name in ("ids", "filter", "all") if getattr(found, name) is not None]
    if len(given) != 1:
        said = f"has {' and '.join(given)}" if given else f"names no {jobs}"
        return Flaw("", f"{said}; send one of {EXAMPLE}")
    if found.all is False:
        return Flaw("/all", "must be true")
    if found.filter is None:
        return None
    wanted: Filter = found.filter
    if wanted == empty:
        return Flaw("/filter", 'is empty; send {"all": true} if all are meant')
    if "\0" in (wanted.type or ""):
        return Flaw("/filter/type", "has a NUL character")
    if wanted.since and wanted.until and wanted.since >= wanted.until:
        return Flaw("/filter/until", f"is not after since: no {jobs} are meant")
    return None
