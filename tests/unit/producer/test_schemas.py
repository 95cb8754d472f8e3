import gc
import json
import sys
import threading
from collections.abc import Iterator
from functools import reduce
from typing import Annotated, Any

import msgspec
import pytest
from pydantic import BaseModel, Field, TypeAdapter
from structlog.testing import capture_logs
from yardstick import milliseconds

from leveret.events import RELAXED, HandlerInfo
from leveret.sdk.relaxed import relaxed
from leveret_producer.schema_parts import MOST_PARTS
from leveret_producer.schemas import MOST_FLAWS, Schemas
from leveret_producer.store.queues import KnownQueue
from leveret_producer.submission import DEEPEST, Submission

SCHEMA: dict[str, object] = {
    RELAXED: 1,
    "type": "object",
    "properties": {"url": {"type": "string"}, "deep": {"items": {"type": "integer"}, "type": "array"}},
    "required": ["url"],
}


def _queue(schema: dict[str, Any] | None, version: str = "v1") -> KnownQueue:
    return KnownQueue("q", 5, {"t": HandlerInfo(schema, max_attempts=2)}, version)


def _of(annotation: Any) -> KnownQueue:
    return _queue(relaxed(TypeAdapter(annotation).core_schema))


def _job(payload: str | bytes, type: str = "t") -> Submission:
    return Submission(type, msgspec.Raw(payload.encode() if isinstance(payload, str) else payload))


def _refused(queue: KnownQueue, payload: str | bytes) -> list[tuple[str, str]]:
    return [(one.pointer, one.detail) for one in Schemas().flaws(queue, [_job(payload)], in_list=False)]


class Item(BaseModel):
    sku: Annotated[str, Field(pattern="^[A-Z]+$", max_length=5)]
    quantity: Annotated[int, Field(ge=1)]


class Card(BaseModel):
    kind: Annotated[str, Field(pattern="^card$")]
    number: int


class Order(BaseModel, extra="forbid"):
    items: Annotated[list[Item], Field(max_length=3)]
    note: str | None = None
    paid: Card | bool | None = None


SAID = [
    pytest.param("[]", "/payload", "is an array, not an object", id="a type"),
    pytest.param("{}", "/payload", "'items' is a required property", id="a property that is missing"),
    pytest.param(
        '{"items":[],"a/b~c":1}', "/payload/a~1b~0c", "is a property that the handler does not have", id="another"
    ),
    pytest.param(
        '{"items":[{"sku":"a","quantity":1}]}', "/payload/items/0/sku", "does not match '^[A-Z]+$'", id="a pattern"
    ),
    pytest.param(
        '{"items":[{"sku":"A","quantity":0}]}', "/payload/items/0/quantity", "is not at least 1", id="a bound"
    ),
    pytest.param(
        '{"items":[{"sku":"A","quantity":1.5}]}',
        "/payload/items/0/quantity",
        "is a number with a fraction, not a whole number",
        id="a fraction",
    ),
    pytest.param(
        '{"items":[{"sku":"A","quantity":"x"}]}',
        "/payload/items/0/quantity",
        "is a string, and can't be read as a whole number",
        id="a string for a number",
    ),
    pytest.param('{"items":[{},{},{},{}]}', "/payload/items", "has 4 items, and may have 3", id="a length"),
    pytest.param('{"items":[],"note":7}', "/payload/note", "is a number, not a string", id="of one that may be null"),
    pytest.param(
        '{"items":[],"paid":{"kind":"card","number":[]}}',
        "/payload/paid/number",
        "is an array, not a whole number",
        id="of the nearest of several",
    ),
    pytest.param('{"items":[],"paid":[]}', "/payload/paid", "is an array, and no type that is taken", id="of several"),
]


@pytest.mark.parametrize(("payload", "pointer", "detail"), SAID)
def test_the_first_flaw_has_a_pointer_and_a_sentence(payload: str, pointer: str, detail: str) -> None:
    assert _refused(_of(Order), payload) == [(pointer, detail)]


def test_each_payload_of_a_list_has_its_own() -> None:
    found = Schemas().flaws(
        _queue(SCHEMA), [_job('{"url":""}'), _job('{"url":1,"deep":["x"]}'), _job("{}")], in_list=True
    )
    assert [flaw.pointer for flaw in found] == ["/1/payload/url", "/2/payload"]


def test_only_the_first_flaws_are_told() -> None:
    assert len(Schemas().flaws(_queue(SCHEMA), [_job("{}")] * 500, in_list=True)) == MOST_FLAWS


def test_no_payload_is_repeated() -> None:
    """Neither its values nor, if they are long, its names; whoever made them knows them."""
    long = "secret" * 1_000
    for annotation, payload in (
        (dict[str, Annotated[str, Field(max_length=3)]], {"a": long}),
        (dict[str, int], {long: []}),
        (dict[str, Annotated[str, Field(pattern="^a$")]], {"a": long}),
        (Order, {"items": [], long: 1}),
    ):
        [(pointer, detail)] = _refused(_of(annotation), json.dumps(payload))
        assert len(pointer) + len(detail) < 300
        assert "secret" not in pointer + detail


def test_a_new_version_has_its_own_schema_and_one_that_is_told_anew_counts() -> None:
    schemas = Schemas()
    assert schemas.flaws(_queue(SCHEMA), [_job("{}")], in_list=False)
    assert not schemas.flaws(_queue({RELAXED: 1, "type": "object"}, "v2"), [_job("{}")], in_list=False)
    assert schemas.flaws(_queue(SCHEMA), [_job("{}")], in_list=False)
    assert not schemas.flaws(_queue({RELAXED: 1, "type": "object"}), [_job("{}")], in_list=False)


def test_a_check_is_made_once_and_what_can_not_be_used_is_told_once() -> None:
    schemas = Schemas()
    nested: dict[str, object] = reduce(lambda inner, _: {"type": "array", "items": inner}, range(9_000), {RELAXED: 1})
    for bad in ({RELAXED: 1} | nested, {RELAXED: 1, "enum": [*range(MOST_PARTS)]}):
        with capture_logs() as logs:
            for _ in range(3):
                assert not schemas.flaws(_queue(dict(bad), "v1"), [_job("[1]")], in_list=False)
        assert len(logs) == 1
        schemas = Schemas()


UNMARKED = TypeAdapter(Order).json_schema()


def test_of_an_older_consumers_schema_only_the_object_is_checked() -> None:
    """It says what pydantic writes; the handler takes more, such as "5" for a number, or a second alias."""
    assert not _refused(_queue(UNMARKED), "{}")
    assert _refused(_queue(UNMARKED), "[]") == [("/payload", "is an array, not an object")]
    assert not _refused(_queue({**UNMARKED, RELAXED: 2}), "{}")  # of a version to come


def test_what_can_not_be_checked_passes() -> None:
    marked = {RELAXED: 1}
    passing: list[tuple[KnownQueue, str, str]] = [
        (_queue(SCHEMA), "other", "{}"),
        (_queue(None), "t", "{}"),
        (_queue({"type": "string"}), "t", "{}"),
        (_queue({**marked, "type": 7}), "t", "{}"),
        (_queue({**marked, "type": ["string", "date"]}), "t", "{}"),
        (_queue({**marked, "properties": 7, "type": "object", "required": {}, "additionalProperties": 1}), "t", "{}"),
        (_queue({**marked, "type": "array", "items": 1, "minItems": "1", "prefixItems": {}}), "t", "[1]"),
        (_queue({**marked, "enum": [[]], "anyOf": {}, "not": {}}), "t", "{}"),
        (_queue({**marked, "type": "integer", "minimum": "a", "maximum": 0.5}), "t", "7"),
        *(
            (_queue({**marked, "$ref": ref}), "t", "{}")
            for ref in ("https://elsewhere.example/schema", "file:///etc/passwd")
        ),
        *(
            (_queue({**marked, "$ref": ref}), "t", "{}")
            for ref in ("other.json", "#/$defs/none", "#", 7, "#/properties/a")
        ),
        (_queue({**marked, "$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}), "t", "{}"),
        (_queue({**marked, "$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}), "t", "{}"),
        *(
            (_queue({**marked, "type": "string", "pattern": one}), "t", '"a"')
            for one in ("(", "(?=b)", r"(b)\1", "b{99999}")
        ),
        (_queue(SCHEMA), "t", '{"url":1e999}'.replace("1e999", "9" * 5_000)),
        (_queue(SCHEMA), "t", r'{"url":1,"a":"\ud800"}'),
    ]
    for queue, name, payload in passing:
        assert Schemas().flaws(queue, [_job(payload, name)], in_list=False) == [], queue


@pytest.mark.parametrize(
    "queue", [_queue(None), _of(Any), _of(dict[str, Any]), _queue(SCHEMA)], ids=["no schema", "any", "dict", "object"]
)
def test_depth_is_bounded_as_the_consumers_reading_is(queue: KnownQueue) -> None:
    """A payload of 60 KB, 9,000 levels deep, ended a process in native code."""
    for levels, deep in ((DEEPEST, False), (DEEPEST + 1, True), (9_000, True), (100_000, True)):
        told = _refused(queue, b'{"deep":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}")
        assert (
            "/payload",
            f"is nested deeper than {DEEPEST} levels, the most that a consumer reads",
        ) in told or not deep
        assert any("nested" in detail for _, detail in told) is deep
        with pytest.raises(ValueError, match="recursion limit") if deep else pytest.MonkeyPatch.context():
            TypeAdapter(Any).validate_json(b"[" * levels + b"]" * levels)
    assert not [said for _, said in _refused(queue, b'{"url":"' + b"[" * 10_000 + b'"}') if "nested" in said]


class Left(BaseModel):
    next: "Left | Right | None" = None


class Right(BaseModel):
    next: "Left | Right | None" = None
    more: int = 0


Left.model_rebuild()


def _chain(links: int) -> bytes:
    return b'{"next":' * links + b"[]" + b"}" * links


COSTLY = [
    pytest.param(
        Annotated[str, Field(pattern=r"^([a-z0-9]+[-.]?)+$")], b'"%s!"' % (b"a" * 37), id="a host's name, 39 bytes"
    ),
    pytest.param(Annotated[str, Field(pattern=r"^(\w+\s?)*$")], b'"%s!"' % (b"a" * 200_000), id="words, 200 KB"),
    pytest.param(Annotated[str, Field(pattern=r"(x+x+)+y")], b'"%s"' % (b"x" * 200_000), id="runs, 200 KB"),
    pytest.param(Annotated[str, Field(pattern="[ab]*a[ab]{5000}c")], b'"%s"' % (b"ab" * 100_000), id="a heavy pattern"),
    pytest.param(Annotated[str, Field(pattern="[ab]*a[ab]{900}c")], b'"%s"' % (b"ab" * 100_000), id="a less heavy one"),
    pytest.param(
        list[Annotated[str, Field(pattern=r"^\w{1,60}$")]], json.dumps(["é" * 61] * 1_900).encode(), id="Unicode"
    ),
    pytest.param(set[int | str], json.dumps([x for i in range(18_000) for x in (i, str(i))]).encode(), id="a set"),
    pytest.param(set[tuple[int, ...]], b"[" + b",".join([b"[]"] * 80_000) + b"]", id="a set of arrays"),
    pytest.param(list[str], b"[" + b",".join([b"1"] * 130_000) + b"]", id="130,000 flaws"),
    pytest.param(list[int | str], b"[" + b",".join([b"1"] * 130_000) + b"]", id="130,000 of two types"),
    pytest.param(dict[str, int], json.dumps({f"{i:04x}": 0 for i in range(20_000)}).encode(), id="20,000 names"),
    pytest.param(list[dict[str, int]], b"[" + b",".join([b'{"":0}'] * 37_000) + b"]", id="37,000 objects"),
    *(pytest.param(Left, _chain(links), id=f"a union of two in itself, {links} deep") for links in (14, 30, 195)),
    pytest.param(Left, _chain(9_000), id="9,000 deep"),
]


@pytest.fixture
def frozen() -> Iterator[None]:
    """What is there is not collected, as in a producer."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(("annotation", "payload"), COSTLY)
def test_no_payload_takes_long(annotation: Any, payload: bytes) -> None:
    """39 bytes took six seconds, 46 KB of a set ten, and nothing else ran meanwhile: now at most 50 ms, of this thread."""
    queue, schemas = _of(annotation), Schemas()
    assert milliseconds(lambda: list(schemas.each(queue, [_job(payload)], in_list=False)), most=50) <= 50


def test_alternatives_of_alternatives_are_tried_one_by_one() -> None:
    """14 levels of them took 1.9 s, as all flaws of all were put together first."""
    schema: dict[str, Any] = reduce(
        lambda inner, _: {"anyOf": [inner, {"type": "array", "items": inner}]}, range(10), {"type": "null"}
    )
    assert _refused(_queue({RELAXED: 1, **schema}), "[[[[1]]]]")
    assert milliseconds(lambda: _refused(_queue({RELAXED: 1, **schema}), "[[[[1]]]]"), most=50) <= 50


def test_a_list_of_costly_payloads_is_bounded_as_a_whole() -> None:
    queue, jobs = _of(Left), [_job(_chain(60))] * 2_000
    assert len(list(Schemas().each(queue, jobs, in_list=True))) == 2_000
    assert milliseconds(lambda: list(Schemas().each(queue, jobs, in_list=True)), most=5_000) <= 5_000


def test_what_is_wrong_at_once_is_found_at_once_however_much_follows() -> None:
    assert _refused(_of(list[str]), b"[" + b",".join([b"1"] * 130_000) + b"]") == [
        ("/payload/0", "is a number, not a string")
    ]


MEANT = [
    pytest.param(r"^\w+$", "éß漢", "é!", id="letters are Unicode's"),
    pytest.param(r"^\d+$", "٣५", "x", id="digits too"),
    pytest.param(r"^a$", "a", "a\n", id="the end is the end"),
    pytest.param(r"^[\p{Lu}&&[^X]]$", "É", "X", id="what only that engine has"),
    pytest.param(r"b", "abc", "ac", id="anywhere in it"),
]


@pytest.mark.parametrize(("pattern", "good", "bad"), MEANT)
def test_a_pattern_means_what_it_means_to_the_consumer(pattern: str, good: str, bad: str) -> None:
    annotation = Annotated[str, Field(pattern=pattern)]
    assert TypeAdapter(annotation).validate_json(json.dumps(good)) == good
    assert not _refused(_of(annotation), json.dumps(good))
    assert _refused(_of(annotation), json.dumps(bad)) == [("/payload", f"does not match {pattern!r}")]


def test_threads_may_check_at_once() -> None:
    """Around a rolling deployment two versions' checks evicted each other, and requests ended with 500."""
    schemas, seen = Schemas(), []
    types = {f"t{number}": HandlerInfo(dict(SCHEMA)) for number in range(30)}

    def check(thread: int) -> None:
        for turn in range(30):
            queue = KnownQueue("q", 5, types, f"v{(turn + thread) % 2}")
            try:
                assert all(schemas.flaws(queue, [_job("{}", one)], in_list=False) for one in types)
            except Exception as problem:
                seen.append(problem)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=check, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not seen


def test_attempts_are_the_handlers_or_the_queues() -> None:
    assert (_queue(None).attempts_for("t"), _queue(None).attempts_for("other")) == (2, 5)
