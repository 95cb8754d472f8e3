"""A request that is sent again with its key is answered as the first time, and stored once; a refused one uses no key up."""

import json
import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pretended_server import QUEUE, Answering, Server

from leveret.settings import Places
from leveret_producer.app import create_app
from leveret_producer.idempotency import BARE, QUOTED, keyed, read_key
from leveret_producer.problems import Refused
from leveret_producer.queue_bound import Length
from leveret_producer.settings import Settings
from leveret_producer.slices import at_once
from leveret_producer.store.queues import KnownQueue

GOOD = {
    "bare": (b"8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
    "in quotes": (b'"8e03978e-40d5"', "8e03978e-40d5"),
    "one character": (b"a", "a"),
    "escapes": (rb'"a\"b\\c"', 'a"b\\c'),
    "bare with what would be an escape": (rb"a\"b", 'a\\"b'),
    "longest": (b"a" * 255, "a" * 255),
    "longest in quotes": (b'"' + rb"\\" * 255 + b'"', "\\" * 255),
    "signs": (b"!#$%&'*+-.^_`|~,;=", "!#$%&'*+-.^_`|~,;="),
}
BAD = {
    "empty": [b""],
    "nothing in quotes": [b'""'],
    "too long": [b"a" * 256],
    "too long in quotes": [b'"' + b"a" * 256 + b'"'],
    "a space": [b"a b"],
    "a space in quotes": [b'"a b"'],
    "a quote that doesn't end": [b'"a'],
    "a quote within": [b'"a"b"'],
    "an escape of nothing": [rb'"a\b"'],
    "parameters": [b'"a";b=1'],
    "not ASCII": ["schlüssel".encode()],
    "a control character": [b"a\x7f"],
    "a tab": [b"a\tb"],
    "two": [b"a", b"b"],
    "the same twice": [b"a", b"a"],
}


@pytest.mark.parametrize(("value", "key"), GOOD.values(), ids=GOOD.keys())
def test_a_key_is_read(value: bytes, key: str) -> None:
    assert read_key([value.decode()]) == key
    assert read_key([]) is None


@pytest.mark.parametrize("values", BAD.values(), ids=BAD.keys())
def test_what_is_no_key_is_refused(values: list[bytes]) -> None:
    with pytest.raises(Refused) as refused:
        read_key([one.decode("latin-1") for one in values])
    problem = refused.value.problem
    assert (problem.status, [flaw.pointer for flaw in problem.errors or ()]) == (422, ["/Idempotency-Key"])
    assert "Nothing was stored" in problem.detail


@given(st.from_regex(re.compile(f"{QUOTED}|{BARE}"), fullmatch=True))
def test_whatever_the_document_allows_is_a_key(value: str) -> None:
    key = read_key([value])
    assert key is not None
    assert 1 <= len(key) <= 255


def test_the_document_tells_the_header() -> None:
    document = create_app(Settings(Places({}), "test")).openapi()
    [header] = [
        one for one in document["paths"]["/v1/queues/{queue}/jobs"]["post"]["parameters"] if one["in"] == "header"
    ]
    pattern = re.compile(header["schema"]["pattern"])
    for value, _ in GOOD.values():
        assert pattern.fullmatch(value.decode())
        assert len(value) <= header["schema"]["maxLength"]
    for values in BAD.values():
        assert len(values) > 1 or not pattern.fullmatch(values[0].decode("latin-1"))


def test_what_makes_a_request_another_one() -> None:
    first = at_once(keyed("a", "k", "leveret.q", b"1" * (3 << 20)))
    assert at_once(keyed("a", "k", "leveret.q", b"1" * (3 << 20))) == first
    for queue, body in (("leveret.q", b"1"), ("leveret.p", b"1" * (3 << 20)), ("leveret.q1", b"1" * ((3 << 20) - 1))):
        other = at_once(keyed("a", "k", queue, body))
        assert other.request != first.request
        assert other.lock == first.lock
    for caller, name in (("b", "k"), ("a", "l"), ("a\0", "k")):
        assert at_once(keyed(caller, name, "leveret.q", b"1")).lock != first.lock
    assert all(-(1 << 31) <= half < 1 << 31 for half in first.lock)


class Remembering(Answering):
    """In place of PostgreSQL, with the table of keys; `held` are keys that others store at this moment."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        self.held: set[str] = set()
        self.found: Any = None
        self.inserted = 0

    async def execute(self, statement: object, values: dict[str, Any] | None = None) -> "Remembering":
        values = values or {}
        name = (values.get("caller", ""), values.get("named", ""))
        if "ids" not in values:
            row = self.rows.get(name)
            self.found = None if row is None else SimpleNamespace(_mapping=row)
        elif "named" in values and (name in self.rows or name[1] in self.held):
            self.found = None
        else:
            self.inserted += len(values["ids"])
            self.found = SimpleNamespace(until=datetime.now(UTC))
            if "named" in values:
                self.rows[name] = {
                    "request": values["request"],
                    "ids": values["all_ids"],
                    "created_at": values["created_at"],
                    "max_attempts": values["max_attempts"][0],
                    "warning": values["warning"],
                }
        return self

    def scalar_one_or_none(self) -> Any:
        return self.found

    one_or_none = scalar_one_or_none


JOB = {"type": "t", "payload": {"n": 1}}
OTHER = KnownQueue("leveret.other", 5, {}, "v1")
Told = tuple[int, dict[str, Any], dict[str, str]]


@pytest.fixture
def memory() -> Remembering:
    return Remembering()


def replica(memory: Remembering, *queues: KnownQueue) -> Server:
    return Server(*queues, postgres=cast(Any, memory))


def full() -> KnownQueue:
    return KnownQueue(QUEUE, 5, {}, "v1", Length(1, "a", 1, datetime.now(UTC)))


async def send(server: Server, asked: object, key: str = "k", queue: str = QUEUE) -> Told:
    path = f"/v1/queues/{queue}/jobs"
    return await server.call(json.dumps(asked).encode(), path, more=[(b"idempotency-key", key.encode())])


def slug(told: Told) -> str:
    return str(told[1].get("type", "")).rpartition("/")[2]


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(JOB, id="a job"),
        pytest.param(JOB | {"delay": "1h"}, id="a job for later"),
        pytest.param(JOB | {"run_at": "2026-01-01T00:00:00+02:00"}, id="a job whose time has passed"),
        pytest.param([JOB], id="a list of one"),
        pytest.param([JOB, JOB | {"delay": "1h"}] * 300, id="a list"),
    ],
)
async def test_the_same_again_has_the_first_answer_and_is_stored_once(memory: Remembering, asked: Any) -> None:
    """Also of another replica, whatever has become of the queue."""
    status, _, headers = first = await send(replica(memory), asked)
    assert (status, "idempotent-replayed" in headers) == (202, False)
    for server in (replica(memory), replica(memory, OTHER), replica(memory, full())):
        again = await send(server, asked, '"k"')
        assert again[2].pop("idempotent-replayed") == "true"
        assert again == first
        assert server.front_door.metrics.submitted.labels(QUEUE)._value.get() == 0
    assert memory.inserted == (len(asked) if isinstance(asked, list) else 1)


async def test_what_was_stored_before_its_deadline_is_answered_again_after_it(memory: Remembering) -> None:
    def replica_at(hour: int) -> Server:
        server = replica(memory)
        object.__setattr__(server.front_door, "clock", lambda: datetime(2026, 5, 1, hour, tzinfo=UTC))
        return server

    asked = JOB | {"deadline": "2026-05-01T12:00:00Z"}
    status, told, _ = await send(replica_at(11), asked)
    assert (status, told["deadline"]) == (202, "2026-05-01T12:00:00Z")
    assert (await send(replica_at(13), asked))[:2] == (202, told)
    assert (await send(replica_at(13), asked, "l"))[0] == 422


async def test_a_key_is_of_one_request(memory: Remembering) -> None:
    server = replica(memory, KnownQueue(QUEUE, 5, {}, "v1"), OTHER)
    assert (await send(server, JOB))[0] == 202
    for asked, queue in (
        ([JOB], QUEUE),
        (JOB | {"type": "u"}, QUEUE),
        (JOB, OTHER.name),
        (JOB | {"delay": "x"}, QUEUE),
    ):
        told = await send(server, asked, queue=queue)
        assert (told[0], slug(told)) == (422, "key-reused")
        assert [flaw["pointer"] for flaw in told[1]["errors"]] == ["/Idempotency-Key"]
    assert (await send(server, [JOB], "l"))[0] == 202
    assert memory.inserted == 2


async def test_what_is_being_stored_is_told_and_then_answered(memory: Remembering) -> None:
    server = replica(memory)
    memory.held = {"k"}
    told = await send(server, JOB)
    assert (told[0], slug(told), int(told[2]["retry-after"]) > 0) == (409, "request-in-progress", True)
    memory.held = set()
    assert (await send(server, JOB))[0] == 202
    assert memory.inserted == 1


async def test_what_was_refused_has_not_used_its_key(memory: Remembering) -> None:
    refusals = [
        (await send(replica(memory), JOB | {"delay": "x"}), 422),
        (await send(replica(memory), JOB | {"more": 1}), 422),
        (await send(replica(memory, OTHER), JOB), 404),
        (await send(replica(memory, full()), JOB), 429),
    ]
    assert [(told[0], status) for told, status in refusals] == [(status, status) for _, status in refusals]
    assert memory.rows == {}
    assert memory.inserted == 0


async def test_what_is_answered_again_takes_no_room(memory: Remembering) -> None:
    server = replica(memory, KnownQueue(QUEUE, 5, {}, "v1", Length(3, "a", 0, datetime.now(UTC))))
    for _ in range(3):
        assert (await send(server, JOB))[0] == 202
    memory.held = {"m"}
    assert (await send(server, JOB, "m"))[0] == 409
    assert (await send(server, [JOB, JOB], "l"))[0] == 202
    assert (await send(server, JOB, "n"))[0] == 429


async def test_a_key_that_is_none_is_refused_before_anything_is_stored(memory: Remembering) -> None:
    told = await send(replica(memory), JOB, "a b")
    assert (told[0], slug(told), memory.inserted) == (422, "invalid-request", 0)
