"""The query of a list of jobs: filters, and where the page begins."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from starlette.datastructures import QueryParams

from leveret.jobs import State
from leveret_producer.problems import Flaw, Refused
from leveret_producer.store.listing import Place, Wanted

DEFAULT_LIMIT, MOST = 50, 500
_NAMES = ("queue", "state", "type", "before", "limit")
CURSOR = r"^[0-3][0-9a-f]{14}\.[0-9a-f]{32}$"  # microseconds since the year 1, and an id
_CURSOR = re.compile(r"([0-9a-f]{15})\.([0-9a-f]{32})")
_FIRST, _MICROSECOND = datetime.min.replace(tzinfo=UTC), timedelta(microseconds=1)
_place = msgspec.json.Decoder(tuple[datetime, UUID])  # what 0.1.0 gave


def cursor(place: Place) -> str:
    """Return where a page ends as text that means something to us only; CURSOR is its pattern."""
    return f"{(place.created_at - _FIRST) // _MICROSECOND:015x}.{place.id.hex}"


def read_wanted(query: QueryParams) -> Wanted:
    """Raise Refused for what can't be meant, unknown parameters too."""
    part, flaws = read_part(query, _NAMES)
    if (state := query.get("state")) is not None and state not in list(State):
        flaws.append(Flaw("/state", f"must be one of {', '.join(State)}"))
    if flaws:
        raise refused(flaws)
    wanted = None if state is None else State(state)
    return Wanted(query.get("queue"), wanted, query.get("type"), part.behind, part.limit)


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a list: so many, behind a place."""

    behind: Place | None
    limit: int


def read_part(query: QueryParams, names: Sequence[str]) -> tuple[Part, list[Flaw]]:
    """Read what the queries of all lists have in common, and what is wrong with it; `names` are the parameters there are."""
    flaws = [Flaw(f"/{name}", f"is not one of {', '.join(names)}") for name in query if name not in names]
    flaws += [Flaw(f"/{name}", "is given twice") for name in names if len(query.getlist(name)) > 1]
    limit = query.get("limit", str(DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 9 and 1 <= int(limit) <= MOST):
        flaws.append(Flaw("/limit", f"must be a number from 1 to {MOST}"))
        limit = str(DEFAULT_LIMIT)
    flaws += [Flaw(f"/{name}", "has a NUL character") for name in ("queue", "type") if "\0" in query.get(name, "")]
    before = query.get("before")
    behind = None if before is None else _read_cursor(before)
    if before is not None and behind is None:
        flaws.append(Flaw("/before", "is not what an earlier page gave as `next`"))
    return Part(behind, int(limit)), flaws


def refused(flaws: Sequence[Flaw]) -> Refused:
    return Refused("invalid-request", "; ".join(f"{flaw.pointer[1:]} {flaw.detail}" for flaw in flaws), flaws)


def _read_cursor(text: str) -> Place | None:
    try:
        if found := _CURSOR.fullmatch(text):
            return Place(_FIRST + int(found[1], 16) * _MICROSECOND, UUID(found[2]))
        at, job = _place.decode(base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)))
        return Place(at.astimezone(UTC), job) if at.tzinfo else None
    except (ValueError, OverflowError, msgspec.MsgspecError):  # overflow: of the year 1 here, and of none in UTC
        return None
