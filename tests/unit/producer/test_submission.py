import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret_producer.problems import Refused
from leveret_producer.scheduling import run_times
from leveret_producer.submission import MOST_JOB, Submission, is_json, read


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
    assert "the fields there are type, payload, run_at, delay, deadline and id." in refused.value.problem.detail


TIMES = {
    "a delay that is a number": ('"delay":30', '/delay: is not a duration: .*such as "30s"'),
    "a delay that is none": ('"delay":true', '/delay: is not a duration: .*such as "30s"'),
    "a time that is a number": ('"run_at":30', "/run_at: is not a time: .*RFC 3339 has it, with an offset"),
    "a time that is none": ('"run_at":"tomorrow"', "/run_at: is not a time: .*RFC 3339 has it, with an offset"),
    "a time without an offset": ('"run_at":"2026-05-01T15:00:00"', "/run_at: is not a time: .*with an offset"),
}


@pytest.mark.parametrize(("field", "said"), TIMES.values(), ids=TIMES.keys())
def test_a_time_that_is_none_is_told_with_what_is_meant(field: str, said: str) -> None:
    with pytest.raises(Refused, match=f"^{said}"):
        read(f'{{"type":"a","payload":1,{field}}}'.encode())
    with pytest.raises(Refused, match=f"^/0{said}"):
        read(f'[{{"type":"a","payload":1,{field}}}]'.encode())


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


HALVES = {
    "alone": (b'{"type":"a","payload":"\\ud800"}', "\\ud800 (byte 23)"),
    "two first halves": (b'{"type":"a","payload":"\\uD83D\\uD83D\\uDE00"}', "\\uD83D (byte 23)"),
    "a second half": (b'{"type":"a","payload":"\\\\\\udc00 and more"}', "\\udc00 (byte 25)"),
    "in a type": (b'{"type":"\\ud800abcdef","payload":1}', "\\ud800 (byte 9)"),
    "in a list": (b'[{"type":"a","payload":1},{"type":"a","payload":"\\ud800"}]', "\\ud800 (byte 49) in the job at /1"),
}


@pytest.mark.parametrize(("body", "said"), HALVES.values(), ids=HALVES.keys())
def test_half_of_a_surrogate_pair_is_told_as_that(body: bytes, said: str) -> None:
    """The decoder says "Input data was truncated" of it."""
    with pytest.raises(Refused) as refused:
        read(body)
    assert f"half of a surrogate pair, {said}. Nothing was stored" in refused.value.problem.detail


PLACES = {
    "not UTF-8, behind others": (b'[{"type":"a","payload":"\xc3\xa9"},{"type":"a","payload":"\xff"}]', "byte 52"),
    "what is no JSON, behind others": (b'[{"type":"a","payload":1},{"type":"a","payload":tru}]', "byte 49"),
    "behind a list": (b'[{"type":"a","payload":1}] x', "byte 27"),
    "behind a job": (b'{"type":"a","payload":1} x', "byte 25"),
    "no comma": (b'[{"type":"a","payload":1} {"type":"a","payload":1}]', "byte 26"),
    "a list that breaks off": (b'[{"type":"a","payload":1}', "truncated"),
    "a comma too many": (b'[{"type":"a","payload":1},]', "byte 26"),
}


@pytest.mark.parametrize(("body", "said"), PLACES.values(), ids=PLACES.keys())
def test_what_is_no_json_is_told_with_its_byte(body: bytes, said: str) -> None:
    with pytest.raises(Refused) as refused:
        read(body)
    assert refused.value.problem.status == 400
    assert said in refused.value.problem.detail


@pytest.mark.parametrize("cut", range(1, 13))
def test_a_pair_that_a_step_ends_within_is_whole(cut: int) -> None:
    spaces = MOST_JOB - len(b'{"type":"t","payload":"') - cut
    body = b"[" + b" " * spaces + b'{"type":"t","payload":"' + b"\\ud83d\\ude00" * 3 + b'"}]'
    with pytest.raises(Refused) as refused:
        read(body)
    assert refused.value.problem.type.endswith("/too-large")


@pytest.mark.parametrize("field", ["type", "payload", "delay", "k" * 100_000])
def test_what_is_refused_is_not_repeated_at_length(field: str) -> None:
    job = {"type": "t", "payload": 1} | {field: ["x" * 100_000] if field == "type" else "x" * 100_000}
    if field == "payload":
        job["type"] = "x" * 100_000
    with pytest.raises(Refused) as refused:
        run_times([read(json.dumps(job).encode())], datetime(2026, 1, 1, tzinfo=UTC), in_list=False)  # type: ignore[list-item]
    assert len(msgspec.json.encode(refused.value.problem)) < 3_000


_TEXT = st.text(alphabet='ab01"\\/u{}[]:,-+.eEdD89fntrué \t\n\x00\x7f', max_size=12)
_JSON = st.recursive(
    st.sampled_from(
        ["1", "-0", "1.5e3", "1e999", "9" * 40, "true", "null", '"\\ud83d\\ude00"', '"\\u0000"', "{}", "[]"]
    )
    | _TEXT,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda some: "[" + ",".join(some) + "]")
        | st.dictionaries(st.sampled_from(["a", "\\n", "é"]), inner, max_size=3).map(
            lambda some: "{" + ",".join(f'"{key}":{value}' for key, value in some.items()) + "}"
        )
    ),
    max_leaves=10,
)


@given(_JSON)
def test_a_payload_is_taken_if_it_is_json_though_nothing_is_made_of_it(payload: str) -> None:
    """That no trees are built rests on it that the decoder passes over a value as strictly as it decodes one."""
    try:
        msgspec.json.decode(payload.encode())
        taken = True
    except msgspec.ValidationError:  # a number that Python's float can't hold is JSON
        return
    except msgspec.DecodeError:
        taken = False
    try:
        found = read(b'[{"type":"t","payload":' + payload.encode() + b"}]")
    except Refused:
        assert not taken
    else:
        assert taken
        assert [bytes(one.payload).decode() for one in found] == [payload.strip(" \t\n\r")]  # type: ignore[union-attr]
