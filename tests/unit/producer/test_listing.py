from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from starlette.datastructures import QueryParams

from leveret.jobs import State
from leveret_producer.problems import Refused
from leveret_producer.routes.listing import cursor, read_wanted
from leveret_producer.store.listing import Place, Wanted

PLACE = Place(datetime(2026, 5, 1, 12, 0, 0, 123456, UTC), UUID(int=7))

GOOD = {
    "nothing": ("", Wanted()),
    "everything": (
        f"queue=a.b&state=dead&type=t&limit=500&before={cursor(PLACE)}",
        Wanted("a.b", State.DEAD, "t", PLACE, 500),
    ),
}


@pytest.mark.parametrize(("query", "wanted"), GOOD.values(), ids=GOOD.keys())
def test_a_query_is_read(query: str, wanted: Wanted) -> None:
    assert read_wanted(QueryParams(query)) == wanted


BAD = {
    "limit=0": ["/limit"],
    "limit=501": ["/limit"],
    "limit=-1": ["/limit"],
    "limit=99999999999999999999": ["/limit"],
    "limit=%C2%B2": ["/limit"],
    "limit=": ["/limit"],
    "limit=1&limit=2": ["/limit"],
    "state=asleep": ["/state"],
    "before=xyz": ["/before"],
    "before=": ["/before"],
    f"before={cursor(Place(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), UUID(int=7)))}": ["/before"],
    f"before={cursor(Place(datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))), UUID(int=7)))}": [
        "/before"
    ],
    "before=WyIyMDI2LTA1LTAxVDAwOjAwOjAwIiwiMDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDA3Il0": ["/before"],
    "colour=red&state=asleep": ["/colour", "/state"],
    "queue=%00": ["/queue"],
}


@pytest.mark.parametrize(("query", "pointers"), BAD.items(), ids=BAD.keys())
def test_what_is_not_understood_is_refused(query: str, pointers: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        read_wanted(QueryParams(query))
    assert [flaw.pointer for flaw in refused.value.problem.errors or []] == pointers
