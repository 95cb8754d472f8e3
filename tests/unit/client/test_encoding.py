"""What can be written as a job, what is refused with a sentence, and where lists are cut."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, HttpUrl

from leveret.client import NewJob, Unsendable
from leveret.client.encoding import MOST_BODY, MOST_JOBS, bodies, checked_key, encode, encode_all, new_jobs


class Page(BaseModel):
    url: HttpUrl
    note: str | None = None


@dataclass
class Order:
    id: UUID
    at: datetime
    price: Decimal


ORDER = Order(UUID(int=1), datetime(2030, 1, 1, tzinfo=UTC), Decimal("1.50"))
LOOP: list[object] = []
LOOP.append(LOOP)

WRITTEN = [
    pytest.param(None, b"null", id="null"),
    pytest.param({"a": [1.5, True, None, "ü"]}, '{"a":[1.5,true,null,"ü"]}'.encode(), id="plain"),
    pytest.param(2**70, b"1180591620717411303424", id="a large number"),
    pytest.param(
        ORDER,
        b'{"id":"00000000-0000-0000-0000-000000000001","at":"2030-01-01T00:00:00Z","price":"1.50"}',
        id="a dataclass",
    ),
    pytest.param(Page(url=HttpUrl("http://a/b")), b'{"url":"http://a/b","note":null}', id="a model of pydantic"),
]


@pytest.mark.parametrize(("payload", "written"), WRITTEN)
def test_payloads(payload: object, written: bytes) -> None:
    assert encode(NewJob("t", payload)) == b'{"type":"t","payload":' + written + b"}"


def test_an_id() -> None:
    one = UUID("019a3c5e-0000-7000-8000-000000000000")
    assert encode(NewJob("t", 1, id=one)) == b'{"type":"t","payload":1,"id":"019a3c5e-0000-7000-8000-000000000000"}'


BAD: list[object] = [
    pytest.param(NewJob("t", object()), "no JSON for a value of type object", id="an object"),
    pytest.param(NewJob("t", {"a": float("nan")}), "NaN or infinite", id="NaN"),
    pytest.param(NewJob("t", [[None, float("-inf")]]), "NaN or infinite", id="infinity"),
    pytest.param(NewJob("t", "\ud800"), "surrogates", id="half of a pair"),
    pytest.param(NewJob("t", {(1, 2): 3}), "can't be written", id="a key that is no text"),
    pytest.param(NewJob("t", LOOP), "recursion", id="in itself"),
    pytest.param(NewJob("t", "x" * (256 << 10)), "256 KiB is the most", id="too large"),
    pytest.param(NewJob("t", 10**5_000), "can't be written", id="a number beyond all"),
    pytest.param(NewJob("\udc00", 1), "the type of job 0", id="a type that is no text"),
    pytest.param(NewJob(7, 1), "is no text", id="a number as type"),  # type: ignore[arg-type]
    pytest.param(NewJob("t", 1, run_at=datetime(2030, 1, 1)), "with an offset", id="a time without offset"),  # noqa: DTZ001
    pytest.param(NewJob("t", 1, run_at="soon"), "run_at of job 0", id="no time"),  # type: ignore[arg-type]
    pytest.param(NewJob("t", 1, delay=timedelta(-1)), "from 0 on", id="a delay into the past"),
    pytest.param(NewJob("t", 1, delay=5), "from 0 on", id="a number as delay"),  # type: ignore[arg-type]
    pytest.param(NewJob("t", 1, id=7), "is no id of job 0", id="a number as id"),  # type: ignore[arg-type]
    pytest.param({"type": "t"}, "payload", id="no payload"),
    pytest.param({"type": "t", "payload": 1, "queue": "q"}, "queue", id="a field that there is not"),
    pytest.param("t", "is no NewJob", id="a text"),
]


@pytest.mark.parametrize(("job", "says"), BAD)
def test_what_cannot_be_sent(job: NewJob, says: str) -> None:
    with pytest.raises(Unsendable, match=says) as told:
        encode_all(new_jobs([job]))
    assert "job 0" in str(told.value)
    assert "Nothing was sent" in str(told.value)


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 201, '"q"', "a\n"])
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(Unsendable, match="a key has"):
        checked_key(key)


@given(st.lists(st.sampled_from([1, 60_000, 262_000]), max_size=150))
def test_lists_are_cut_within_the_bounds_and_nothing_is_lost(sizes: list[int]) -> None:
    jobs = [b'"' + b"x" * size + b'"' for size in sizes]
    parts = list(bodies(jobs))
    assert [bytes(one) for body, _ in parts for one in msgspec.json.decode(body, type=list[msgspec.Raw])] == jobs
    assert all(len(body) <= MOST_BODY and count == len(msgspec.json.decode(body)) for body, count in parts)
    assert all(len(one) + len(other) > MOST_BODY for (one, _), (other, _) in pairwise(parts))


def test_a_list_of_small_jobs_is_cut_by_number() -> None:
    assert [count for _, count in bodies([b"1"] * (2 * MOST_JOBS + 1))] == [MOST_JOBS, MOST_JOBS, 1]
