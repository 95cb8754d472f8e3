"""Jobs as JSON, and lists of them as requests.

A list is encoded whole before anything of it is sent: what can't be written must not leave half a list behind.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from leveret.client.errors import Unsendable
from leveret.client.values import NewJob
from leveret.durations import format_duration

MOST_JOBS = 10_000  # of one request
MOST_BODY = 8 << 20  # bytes of one request
MOST_PAYLOAD = 256 << 10  # bytes
MOST_IDS = 1_000  # of one request
_LONGEST_KEY = 200


def encode(job: NewJob, where: str = "the job") -> bytes:
    """Return the job as JSON; raise Unsendable."""
    if not isinstance(job.type, str):
        raise Unsendable(f"the type of {where} is no text, but {job.type!r:.80}. Nothing was sent")
    fields: dict[str, object] = {"type": job.type, "payload": msgspec.Raw(_payload(job.payload, where))}
    if job.run_at is not None:
        fields["run_at"] = _time(job.run_at, where)
    if job.delay is not None:
        fields["delay"] = _delay(job.delay, where)
    if job.id is not None:
        fields["id"] = _uuid(job.id, where)
    return _written(fields, f"the type of {where}")


def encode_all(jobs: Iterable[NewJob]) -> list[bytes]:
    return [encode(job, f"job {index}") for index, job in enumerate(jobs)]


def new_jobs(jobs: Iterable[NewJob | Mapping[str, object]]) -> list[NewJob]:
    """Return each as NewJob; one may be given as a mapping with its fields. Raise Unsendable."""
    return [_new_job(job, f"job {index}") for index, job in enumerate(jobs)]


def bodies(jobs: list[bytes]) -> Iterator[tuple[bytes, int]]:
    """Cut a list into requests, in its order: their bodies, and how many jobs each has."""
    start, size = 0, 2
    for index, job in enumerate(jobs):
        if index > start and (index - start == MOST_JOBS or size + len(job) > MOST_BODY):
            yield b"[" + b",".join(jobs[start:index]) + b"]", index - start
            start, size = index, 2
        size += len(job) + 1
    if jobs:
        yield b"[" + b",".join(jobs[start:]) + b"]", len(jobs) - start


def uuids(ids: Iterable[UUID | str]) -> list[UUID]:
    """Return each id once, in order; raise Unsendable for what is none."""
    return list(dict.fromkeys(_uuid(one) for one in ids))


def checked_key(key: str) -> str:
    if 1 <= len(key) <= _LONGEST_KEY and key[0] != '"' and all("!" <= letter <= "~" for letter in key):
        return key
    raise Unsendable(
        f"a key has 1 to {_LONGEST_KEY} characters of ASCII, without spaces and no quote first, not {key!r:.80}. Nothing was sent"
    )


def _new_job(job: NewJob | Mapping[str, object], where: str) -> NewJob:
    if isinstance(job, NewJob):
        return job
    try:
        return NewJob(**job)  # type: ignore[arg-type]  # encode looks at each
    except TypeError as problem:
        raise Unsendable(f"{where} is no NewJob: {problem}. Nothing was sent") from problem


def _uuid(id: UUID | str, of: str = "a job") -> UUID:
    try:
        return id if isinstance(id, UUID) else UUID(id)
    except (ValueError, TypeError, AttributeError):
        raise Unsendable(f"{id!r:.80} is no id of {of}. Nothing was sent") from None


def _time(at: object, where: str) -> datetime:
    if isinstance(at, datetime) and at.utcoffset() is not None:
        return at
    raise Unsendable(f"run_at of {where} is no datetime with an offset. Nothing was sent; take datetime.now(UTC), say")


def _delay(delay: object, where: str) -> str:
    if isinstance(delay, str):
        return delay
    if not isinstance(delay, timedelta) or delay < timedelta():
        raise Unsendable(
            f"delay of {where} is a timedelta from 0 on or a text such as '30s', not {delay!r:.80}. Nothing was sent"
        )
    return format_duration(delay)


def _payload(payload: object, where: str) -> bytes:
    written = _written(payload, f"the payload of {where}")
    if len(written) > MOST_PAYLOAD:
        raise Unsendable(
            f"the payload of {where} has {len(written):,} bytes, and {MOST_PAYLOAD >> 10} KiB is the most. Nothing was sent; "
            "put what is large elsewhere and send its address"
        )
    # NaN and infinity are written as null, which is another value: they are looked for where there is a null.
    if b"null" in written and _not_finite(msgspec.to_builtins(payload, enc_hook=_model)):
        raise Unsendable(
            f"the payload of {where} has a number that is NaN or infinite. Nothing was sent; JSON has neither"
        )
    return written


def _written(value: object, what: str) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=_model)
    except (TypeError, ValueError, OverflowError, RecursionError) as problem:  # a surrogate's is a ValueError
        raise Unsendable(f"{what} can't be written as JSON: {problem!s:.300}. Nothing was sent") from problem


def _model(value: object) -> object:
    """Write what isn't of the standard library: a model of pydantic, which is not imported here."""
    dump = getattr(value, "model_dump", None)
    if not callable(dump):
        raise TypeError(f"there is no JSON for a value of type {type(value).__name__}")
    return dump(mode="json")


def _not_finite(value: object) -> bool:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, float) and not math.isfinite(one):
            return True
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, (list, tuple)):
            left += one
    return False
