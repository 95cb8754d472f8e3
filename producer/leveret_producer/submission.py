"""Read what was posted to a queue: one job or a list of them, all or none.

The payload's text is kept byte for byte. A field that isn't known is refused, never ignored: it may be one that a later
version gives a meaning to.
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from leveret_producer.problems import Flaw, Refused

MOST_BODY = 8 << 20  # bytes
MOST_PAYLOAD = 256 << 10  # bytes
MOST_JOBS = 10_000
DEEPEST = 201  # levels of a payload: what pydantic reads, and so the most that a consumer takes
LONGEST_TYPE = 255  # bytes: a short string of AMQP

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AT = re.compile(r"^(?P<said>.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL)
_FIELD = re.compile(r"(?:unknown field|missing required field) `(?P<name>[^`]*)`")
_STEP = re.compile(r"\[(\d+)\]|\.([^.\[]+)|\[\.\.\.\]")


_Time = Annotated[
    datetime, msgspec.Meta(tz=True, description="Not before then, at most 366 days ahead; with an offset")
]
_Delay = Annotated[str, msgspec.Meta(description="Instead of run_at: not before so long from now, such as 10m")]


class Submission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job as it is submitted."""

    type: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_TYPE)]
    payload: msgspec.Raw
    run_at: _Time | None = None
    delay: _Delay | None = None  # `leveret_producer.scheduling` reads it


_one = msgspec.json.Decoder(Submission)
_list = msgspec.json.Decoder(list[Submission])
_anything = msgspec.json.Decoder()


def is_json(content_type: str | None) -> bool:
    return (content_type or "").partition(";")[0].strip().lower() == "application/json"


def too_large() -> Refused:
    return Refused(
        "too-large",
        f"The body is larger than {MOST_BODY >> 20} MiB. Nothing was stored; send the jobs in several lists.",
    )


def read(body: bytes) -> Submission | list[Submission]:
    """Return what the body asks for; raise Refused."""
    is_list = body.lstrip()[:1] == b"["
    try:
        _check_json(body)
        found = _list.decode(body) if is_list else _one.decode(body)
    except msgspec.ValidationError as problem:
        raise _invalid([flaw_of(str(problem), {"": Submission})]) from problem
    except msgspec.DecodeError as problem:
        raise _not_json(
            str(problem).removeprefix("JSON is malformed: ") if body.strip() else "it is empty"
        ) from problem
    except UnicodeDecodeError as problem:
        raise _not_json(f"it is not UTF-8 (byte {problem.start})") from problem
    except RecursionError as problem:
        raise _not_json(f"it is nested too deep to be read; a payload may have {DEEPEST} levels") from problem
    jobs: Sequence[Submission] = found if isinstance(found, list) else [found]
    if not jobs:
        raise _invalid([Flaw("", "the list is empty; send at least one job")])
    if len(jobs) > MOST_JOBS:
        raise _invalid([Flaw("", f"the list has {len(jobs)} jobs; send at most {MOST_JOBS:,} at once")])
    for index, job in enumerate(jobs):
        _check(job, f"/{index}" if is_list else "")
    return found


def invalid(flaws: Sequence[Flaw]) -> Refused:
    return _invalid(flaws)


def _check_json(body: bytes) -> None:
    """Decode everything once: payloads that are passed on as they are must be JSON too."""
    body.decode()
    with contextlib.suppress(msgspec.ValidationError):  # a number that Python's float or int can't hold is JSON
        _anything.decode(body)


def _not_json(because: str) -> Refused:
    return Refused("invalid-json", f"The body is not JSON: {because}. Nothing was stored.")


def _check(job: Submission, pointer: str) -> None:
    if len(job.type.encode()) > LONGEST_TYPE:
        raise _invalid([Flaw(f"{pointer}/type", f"longer than {LONGEST_TYPE} bytes")])
    if _CONTROL.search(job.type):
        raise _invalid([Flaw(f"{pointer}/type", "has a control character")])
    if len(bytes(job.payload)) > MOST_PAYLOAD:
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
    found = _AT.match(said)
    assert found is not None
    steps = [index or name or "" for index, name in _STEP.findall(found["path"] or "")]
    sentence = found["said"].replace("`", "'")
    if field := _FIELD.search(found["said"]):
        inside = [step for step in steps if step and not step.isdecimal()]
        if "unknown" in field[0]:
            *others, last = structs[inside[-1] if inside else ""].__struct_fields__
            sentence += f"; the fields there are {', '.join(others)} and {last}"
        steps.append(field["name"])
    pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
    return Flaw(pointer, sentence[:1].lower() + sentence[1:])
