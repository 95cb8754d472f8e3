"""Read what was posted to a queue: one job or a list of them, all or none.

The payload's text is kept byte for byte. A field that isn't known is refused, never ignored: it may be one that a later
version gives a meaning to.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from leveret_producer.problems import Flaw, Refused
from leveret_producer.slices import Steps, at_once

MOST_BODY = 8 << 20  # bytes
MOST_PAYLOAD = 256 << 10  # bytes
MOST_JOB = 1 << 20  # bytes: far more than a payload and the fields beside it
MOST_JOBS = 10_000
DEEPEST = 201  # levels of a payload: what pydantic reads, and so the most that a consumer takes
LONGEST_TYPE = 255  # bytes: a short string of AMQP

_LONGEST_SAID = 400  # characters of the decoder's message
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AT = re.compile(r"^(?P<said>.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL)
_FIELD = re.compile(r"(?:unknown field|missing required field) `(?P<name>[^`]*)`")
_SPACE = re.compile(rb"[ \t\n\r]*+")
_TRUNCATED = "Input data was truncated"
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)$")
_BYTE = re.compile(r"\(byte (\d+)\)$")
_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F])|" + _PAIR + rb")*+(\\u[dD][89a-fA-F][0-9a-fA-F]{2})?", re.DOTALL
)
_STEP = re.compile(r"\[(\d+)\]|\.([^.\[]+)|\[\.\.\.\]")
# In place of the decoder's words, which name Python's types.
_MEANT = {
    "/run_at": 'is not a time: write a text as RFC 3339 has it, with an offset, such as "2026-05-01T15:00:00Z"',
    "/delay": 'is not a duration: write a text with a number and one of ms, s, m, h, such as "30s"',
    "/id": "is no UUIDv7, written as a text",
}


_Time = Annotated[
    datetime, msgspec.Meta(tz=True, description="Not before then, at most 366 days ahead; with an offset")
]
_Deadline = Annotated[
    datetime, msgspec.Meta(tz=True, description="No attempt starts or runs after it; with an offset, cut to the ms")
]
_Delay = Annotated[str, msgspec.Meta(description="Instead of run_at: not before so long from now, such as 10m")]
_Id = Annotated[
    UUID,
    msgspec.Meta(description="A UUIDv7 of at most an hour ahead: with it the job is stored once, whoever sends it"),
]


class Submission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job as it is submitted."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_TYPE)]
    payload: msgspec.Raw
    run_at: _Time | None = None
    delay: _Delay | None = None  # `leveret_producer.scheduling` reads it
    deadline: _Deadline | None = None
    id: _Id | None = None


_job = msgspec.json.Decoder(Submission)
_value = msgspec.json.Decoder(msgspec.Raw)  # builds nothing, and takes what a decoder that builds takes, but for UTF-8


def is_json(content_type: str | None) -> bool:
    return (content_type or "").partition(";")[0].strip().lower() == "application/json"


def too_large() -> Refused:
    return Refused(
        "too-large",
        f"The body is larger than {MOST_BODY >> 20} MiB. Nothing was stored; send the jobs in several lists.",
    )


def read(body: bytes) -> Submission | list[Submission]:
    """Return what the body asks for; raise Refused."""
    return at_once(reading(body))


def reading(body: bytes) -> Steps[Submission | list[Submission]]:
    """The same in steps. Where jobs end is found without building them, so that sizes are known before anything is made.

    A step looks at MOST_JOB bytes at most, and whatever they are, that takes some 10 ms.
    """
    start = _end_of_space(body, 0)
    if body[start : start + 1] != b"[":
        found, end = _read(body, start, None)
        if (end := _end_of_space(body, end)) < len(body):
            raise _not_json(f"trailing characters (byte {end})")
        return found
    jobs: list[Submission] = []
    at = start + 1
    if body[(end := _end_of_space(body, at)) : end + 1] == b"]":
        raise _invalid([Flaw("", "the list is empty; send at least one job")])
    while True:
        if len(jobs) == MOST_JOBS:
            raise _invalid([Flaw("", f"the list has more than {MOST_JOBS:,} jobs; send at most so many at once")])
        job, end = _read(body, at, len(jobs))
        jobs.append(job)
        yield
        follows, at = body[end : end + 1], end + 1
        if follows == b"]":
            break
        if follows != b",":
            raise _not_json(f"expected ',' or ']' (byte {end})" if follows else _TRUNCATED)
    if (end := _end_of_space(body, at)) < len(body):
        raise _not_json(f"trailing characters (byte {end})")
    return jobs


def invalid(flaws: Sequence[Flaw]) -> Refused:
    return _invalid(flaws)


def _read(body: bytes, at: int, index: int | None) -> tuple[Submission, int]:
    """Return the job that begins there, and where what follows it begins."""
    seen = memoryview(body)[at : at + MOST_JOB]
    pointer, is_all = "" if index is None else f"/{index}", at + len(seen) == len(body)
    try:
        end = at + _length(seen)
        job = _job.decode(seen[: end - at])
        str(job.payload, "utf-8")  # all else was looked at
    except msgspec.ValidationError as problem:
        flaw = flaw_of(str(problem), {"": Submission})
        raise _invalid([Flaw(pointer + flaw.pointer, _MEANT.get(flaw.pointer, flaw.detail))]) from problem
    except msgspec.DecodeError as problem:
        half = _HALF.match(body, at, at + len(seen))
        if half and half[1] and (is_all or half.end(1) + 6 <= at + len(seen)):  # not one that was cut in two here
            where = f" in the job at {pointer}" if pointer else ""
            raise _not_json(f"half of a surrogate pair, {half[1].decode()} (byte {half.start(1)}){where}") from problem
        if str(problem) == _TRUNCATED and not is_all:
            raise _too_large_job(pointer) from problem
        said = str(problem).removeprefix("JSON is malformed: ") if body.strip() else "it is empty"
        raise _not_json(_BYTE.sub(lambda found: f"(byte {at + int(found[1])})", said)) from problem
    except UnicodeDecodeError as problem:
        raise _not_json(f"it is not UTF-8 (byte {_not_utf8(body, at, end)})") from problem
    except RecursionError as problem:
        raise _not_json(f"it is nested too deep to be read; a payload may have {DEEPEST} levels") from problem
    _check(job, pointer)
    return job, _end_of_space(body, end)


def _length(seen: memoryview) -> int:
    """Return how long the first value is, with the spaces around it."""
    try:
        _value.decode(seen)
    except msgspec.DecodeError as problem:
        trailing = _TRAILING.search(str(problem))
        if not trailing:
            raise
        return int(trailing[1]) - 1
    return len(seen)


def _end_of_space(body: bytes, at: int) -> int:
    found = _SPACE.match(body, at)
    assert found is not None
    return found.end()


def _not_utf8(body: bytes, at: int, end: int) -> int:
    try:
        body[at:end].decode()
    except UnicodeDecodeError as problem:
        return at + problem.start
    return at


def _not_json(because: str) -> Refused:
    return Refused("invalid-json", f"The body is not JSON: {because}. Nothing was stored.")


def _too_large_job(pointer: str) -> Refused:
    job = f"The job at {pointer}" if pointer else "The job"
    return Refused(
        "too-large",
        f"{job} is larger than {MOST_JOB >> 20} MiB, and its payload may have {MOST_PAYLOAD >> 10} KiB. Nothing was stored; "
        "keep large data elsewhere and send where it is.",
    )


def _check(job: Submission, pointer: str) -> None:
    if len(job.type.encode()) > LONGEST_TYPE:
        raise _invalid([Flaw(f"{pointer}/type", f"longer than {LONGEST_TYPE} bytes")])
    if _CONTROL.search(job.type):
        raise _invalid([Flaw(f"{pointer}/type", "has a control character")])
    if memoryview(job.payload).nbytes > MOST_PAYLOAD:
        where = f"The payload at {pointer}/payload" if pointer else "The payload"
        raise Refused(
            "too-large",
            f"{where} is larger than {MOST_PAYLOAD >> 10} KiB. Nothing was stored; "
            "keep large data elsewhere and send where it is.",
        )


def _invalid(flaws: Sequence[Flaw]) -> Refused:
    said = "; ".join(f"{flaw.pointer or 'the body'}: {flaw.detail}" for flaw in flaws[:3])
    more = f" (and {len(flaws) - 3} more)" if len(flaws) > 3 else ""
    return Refused("invalid-request", f"{said}{more}. Nothing was stored.", flaws)


def flaw_of(said: str, structs: Mapping[str, type[msgspec.Struct]]) -> Flaw:
    """Turn the decoder's message into a pointer and a sentence; `structs` are by the field that they stand in."""
    if len(said) > _LONGEST_SAID:  # it repeats a field's name, whatever that is
        said = f"{said[: _LONGEST_SAID // 2]}…{said[-_LONGEST_SAID // 2 :]}"
    found = _AT.match(said)
    assert found is not None
    steps = [index or name or "" for index, name in _STEP.findall(found["path"] or "")]
    sentence = found["said"].replace("`", "'")
    if field := _FIELD.search(found["said"]):
        inside = [step for step in steps if step and not step.isdecimal()]
        if "unknown" in field[0]:
            *others, last = structs[inside[-1] if inside else ""].__struct_fields__
            sentence += (
                f"; the fields there are {', '.join(others)} and {last}" if others else f"; the field there is {last}"
            )
        steps.append(field["name"])
    pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
    return Flaw(pointer, sentence[:1].lower() + sentence[1:])
