from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from starlette.datastructures import QueryParams

from leveret.jobs import DeadReason
from leveret_producer.dead_letters.selection import DeadLetterFilter, DeadLetterSelection, read_selection
from leveret_producer.problems import Refused
from leveret_producer.routes.dead_letter_query import read_query
from leveret_producer.routes.listing import cursor
from leveret_producer.store.dead_letters import WantedDeadLetters
from leveret_producer.store.listing import Place

ONE, NOON = UUID(int=1), datetime(2026, 5, 1, 12, tzinfo=UTC)

GOOD = {
    "ids": (f'{{"ids": ["{ONE}", "{ONE}"]}}', DeadLetterSelection(ids=[ONE, ONE])),
    "all": ('{"all": true}', DeadLetterSelection(all=True)),
    "a reason": (
        '{"filter": {"reason": "QueueGone"}}',
        DeadLetterSelection(filter=DeadLetterFilter(DeadReason.QUEUE_GONE)),
    ),
    "times": (
        '{"filter": {"type": "t", "since": "2026-05-01T12:00:00Z", "until": "2026-05-01T15:00:00+02:00"}}',
        DeadLetterSelection(filter=DeadLetterFilter(None, "t", NOON, NOON.replace(hour=13))),
    ),
}


@pytest.mark.parametrize(("body", "selection"), GOOD.values(), ids=GOOD.keys())
def test_a_selection_is_read(body: str, selection: DeadLetterSelection) -> None:
    assert read_selection(body.encode()) == selection
    assert msgspec.json.decode(msgspec.json.encode(selection), type=DeadLetterSelection) == selection


BAD = {
    "empty": (b"", "invalid-json", []),
    "not UTF-8": (b'{"all": "\xff"}', "invalid-json", []),
    "half": (b'{"all": tr', "invalid-json", []),
    "a list": (b"[]", "invalid-request", [""]),
    "nothing": (b"{}", "invalid-request", [""]),
    "two": (b'{"all": true, "filter": {"type": "t"}}', "invalid-request", [""]),
    "not all": (b'{"all": false}', "invalid-request", ["/all"]),
    "an empty filter": (b'{"filter": {}}', "invalid-request", ["/filter"]),
    "a field that is none": (b'{"filter": {"typ": "t"}}', "invalid-request", ["/filter/typ"]),
    "a word that is none": (b'{"everything": true}', "invalid-request", ["/everything"]),
    "a reason that is none": (b'{"filter": {"reason": "Bored"}}', "invalid-request", ["/filter/reason"]),
    "no type": (b'{"filter": {"type": ""}}', "invalid-request", ["/filter/type"]),
    "NUL": (b'{"filter": {"type": "a\\u0000"}}', "invalid-request", ["/filter/type"]),
    "a time without offset": (b'{"filter": {"since": "2026-05-01T12:00:00"}}', "invalid-request", ["/filter/since"]),
    "no time between": (
        b'{"filter": {"since": "2026-05-01T12:00:00Z", "until": "2026-05-01T12:00:00Z"}}',
        "invalid-request",
        ["/filter/until"],
    ),
    "before all times": (b'{"filter": {"since": "0001-01-01T00:00:00+14:00"}}', "invalid-request", ["/filter/since"]),
    "after all times": (
        b'{"filter": {"since": "0001-01-02T00:00:00Z", "until": "9999-12-31T23:00:00-02:00"}}',
        "invalid-request",
        ["/filter/until"],
    ),
    "no ids": (b'{"ids": []}', "invalid-request", ["/ids"]),
    "a number as id": (b'{"ids": [7]}', "invalid-request", ["/ids/0"]),
    "too many ids": (msgspec.json.encode({"ids": [ONE] * 10_001}), "invalid-request", ["/ids"]),
}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        pytest.param(b'{"filter": {"typ": "t"}}', "reason, type, since and until", id="in the filter"),
        pytest.param(b'{"everything": true}', "ids, filter and all", id="beside it"),
    ],
)
def test_a_field_that_is_none_names_those_there_are(body: bytes, fields: str) -> None:
    with pytest.raises(Refused) as refused:
        read_selection(body)
    assert f"the fields there are {fields}. Nothing was changed." in refused.value.problem.detail


def test_times_are_in_utc() -> None:
    found = read_selection(b'{"filter": {"since": "2026-05-01T14:00:00+02:00"}}').filter
    assert found is not None
    assert found.since is not None
    assert (found.since, found.since.tzinfo) == (NOON, UTC)


@pytest.mark.parametrize(("body", "slug", "pointers"), BAD.values(), ids=BAD.keys())
def test_a_selection_that_can_not_be_meant_is_refused(body: bytes, slug: str, pointers: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        read_selection(body)
    problem = refused.value.problem
    assert problem.type == f"https://leveret.dev/problems/{slug}"
    assert [flaw.pointer for flaw in problem.errors or []] == pointers
    assert "Nothing was changed" in problem.detail


def test_a_query_is_read() -> None:
    behind = Place(NOON, ONE)
    query = QueryParams(f"reason=Rejected&type=t&limit=500&before={cursor(behind)}")
    wanted = DeadLetterFilter(DeadReason.REJECTED, "t")
    assert read_query("a.b", query) == WantedDeadLetters("a.b", wanted, behind, 500)
    assert read_query("a.b", QueryParams("")) == WantedDeadLetters("a.b", DeadLetterFilter(), None, 50)


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("reason=Bored", ["/reason"]),
        ("state=dead", ["/state"]),
        ("limit=501", ["/limit"]),
        ("before=x&type=%00", ["/type", "/before"]),
    ],
)
def test_a_query_that_can_not_be_meant_is_refused(query: str, pointers: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        read_query("a.b", QueryParams(query))
    assert [flaw.pointer for flaw in refused.value.problem.errors or []] == pointers
