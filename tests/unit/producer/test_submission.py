import json

import pytest

from leveret_producer.problems import Refused
from leveret_producer.submission import Submission, is_json, read


def _job(payload: object = 1, type: str = "free") -> bytes:
    return json.dumps({"type": type, "payload": payload}).encode()


BAD = {
    "empty": (b"", "invalid-json", []),
    "blank": (b" \n", "invalid-json", []),
    "half": (b'{"type":"a","pay', "invalid-json", []),
    "not UTF-8": (b'{"type":"a","payload":"\xff"}', "invalid-json", []),
    "a raw control character": (b'{"type":"a","payload":"\x01"}', "invalid-json", []),
    "half a surrogate pair": (b'{"type":"a","payload":"\\ud800"}', "invalid-json", []),
    "NaN": (b'{"type":"a","payload":NaN}', "invalid-json", []),
    "deep": (b'{"type":"a","payload":' + b"[" * 60_000 + b"]" * 60_000 + b"}", "invalid-json", []),
    "two values": (b'{"type":"a","payload":1} {}', "invalid-json", []),
    "a number": (b"7", "invalid-request", [""]),
    "null": (b"null", "invalid-request", [""]),
    "a list of numbers": (b"[7]", "invalid-request", ["/0"]),
    "no jobs": (b"[]", "invalid-request", [""]),
    "no type": (b'{"payload":1}', "invalid-request", ["/type"]),
    "no payload": (b'[{"type":"a","payload":1},{"type":"a"}]', "invalid-request", ["/1/payload"]),
    "a type that is none": (b'{"type":7,"payload":1}', "invalid-request", ["/type"]),
    "an empty type": (b'{"type":"","payload":1}', "invalid-request", ["/type"]),
    "a type with NUL": (b'{"type":"a\\u0000","payload":1}', "invalid-request", ["/type"]),
    "a type of many bytes": (_job(type="é" * 200), "invalid-request", ["/type"]),
    "a field of a later version": (b'{"type":"a","payload":1,"after":[]}', "invalid-request", ["/after"]),
    "a strange field in a list": (b'[{"type":"a","payload":1,"x~/y":1}]', "invalid-request", ["/0/x~0~1y"]),
    "too many": (b"[" + b",".join([_job()] * 10_001) + b"]", "invalid-request", [""]),
    "a large payload": (_job("x" * (256 << 10)), "too-large", []),
    "a large payload in a list": (b"[" + _job("x" * (256 << 10)) + b"]", "too-large", []),
}


@pytest.mark.parametrize(("body", "slug", "pointers"), BAD.values(), ids=BAD.keys())
def test_what_can_not_be_meant_is_refused_with_its_place(body: bytes, slug: str, pointers: list[str]) -> None:
    with pytest.raises(Refused) as refused:
        read(body)
    problem = refused.value.problem
    assert problem.type == f"https://leveret.dev/problems/{slug}"
    assert [flaw.pointer for flaw in problem.errors or []] == pointers
    assert "Nothing was stored" in problem.detail


@pytest.mark.parametrize("body", [b'{"typ":"a","payload":1}', b'[{"type":"a","payload":1},{"type":"a","data":1}]'])
def test_a_field_that_is_none_names_those_there_are(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read(body)
    assert "the fields there are type, payload, run_at and delay." in refused.value.problem.detail


KEPT = [
    "1",
    " 1.50",
    '{ "a":1,  "a":2 }',
    "123456789012345678901234567890",
    "1e999",
    '"\\u0000\\ud83d\\ude00é"',
    "null",
]


@pytest.mark.parametrize("payload", KEPT)
def test_a_payload_is_kept_as_it_was_sent(payload: str) -> None:
    found = read(f'{{"payload":{payload},"type":"t"}}'.encode())
    assert isinstance(found, Submission)
    assert bytes(found.payload).decode() == payload.strip()


def test_a_list_stays_in_order() -> None:
    found = read(b" [" + b",".join(_job(number) for number in range(10_000)) + b"]")
    assert isinstance(found, list)
    assert [int(bytes(one.payload)) for one in found] == list(range(10_000))


TYPES = {
    "application/json": True,
    "Application/JSON; charset=utf-8": True,
    "text/plain": False,
    "application/x-ndjson": False,
    "": False,
    None: False,
}


@pytest.mark.parametrize(("content_type", "taken"), TYPES.items(), ids=map(str, TYPES))
def test_only_json_is_taken(content_type: str | None, taken: bool) -> None:
    assert is_json(content_type) is taken


def test_what_follows_a_number_out_of_range_is_looked_at_too() -> None:
    with pytest.raises(Refused) as refused:
        read(b'[{"type":"a","payload":1e999},{"type":"a","payload":tru}]')
    assert refused.value.problem.status == 400
