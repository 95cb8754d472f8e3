import msgspec

from leveret.events import HandlerInfo
from leveret_producer.schemas import MOST_FLAWS, Schemas
from leveret_producer.store.queues import KnownQueue
from leveret_producer.submission import Submission

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"url": {"type": "string"}, "deep": {"items": {"type": "integer"}}},
    "required": ["url"],
}


def _queue(schema: dict[str, object] | None, version: str = "v1") -> KnownQueue:
    return KnownQueue("q", 5, {"t": HandlerInfo(schema, max_attempts=2)}, version)


def _job(payload: str, type: str = "t") -> Submission:
    return Submission(type, msgspec.Raw(payload.encode()))


def test_flaws_have_a_pointer_and_a_sentence() -> None:
    schemas = Schemas()
    one = schemas.flaws(_queue(SCHEMA), [_job('{"url":1,"deep":[1,"x"]}')], in_list=False)
    assert sorted(flaw.pointer for flaw in one) == ["/payload/deep/1", "/payload/url"]
    [flaw] = schemas.flaws(_queue(SCHEMA), [_job('{"url":""}'), _job("{}")], in_list=True)
    assert (flaw.pointer, flaw.detail) == ("/1/payload", "'url' is a required property")


def test_only_the_first_flaws_are_told() -> None:
    assert len(Schemas().flaws(_queue(SCHEMA), [_job("{}")] * 500, in_list=True)) == MOST_FLAWS


def test_no_more_is_looked_for_than_is_told() -> None:
    """A payload of 256 KiB can have 130,000 flaws. What follows the last one told is not looked at: it can't be checked."""
    wrong_or_unknown: dict[str, object] = {
        "items": {"if": {"type": "integer"}, "then": False, "else": {"$ref": "https://elsewhere.example/schema"}}
    }
    payload = f"[{'1,' * MOST_FLAWS}null]"
    assert len(Schemas().flaws(_queue(wrong_or_unknown), [_job(payload)], in_list=False)) == MOST_FLAWS


def test_a_new_version_has_its_own_schema() -> None:
    schemas = Schemas()
    assert schemas.flaws(_queue(SCHEMA), [_job("{}")], in_list=False)
    assert not schemas.flaws(_queue({"type": "object"}, "v2"), [_job("{}")], in_list=False)


def test_what_can_not_be_checked_passes() -> None:
    passing = [
        (_queue(SCHEMA), "other", "{}"),
        (_queue(None), "t", "{}"),
        (_queue({"type": 7}), "t", "{}"),
        (_queue({"$ref": "https://elsewhere.example/schema"}), "t", "{}"),
        (_queue({"pattern": "("}), "t", '"a"'),
        (_queue(SCHEMA), "t", '{"url":1e999}'),
    ]
    for queue, name, payload in passing:
        assert Schemas().flaws(queue, [_job(payload, name)], in_list=False) == []


def test_attempts_are_the_handlers_or_the_queues() -> None:
    assert (_queue(None).attempts_for("t"), _queue(None).attempts_for("other")) == (2, 5)
