"""Every field of every event at every extreme, made of the structs themselves: a new field is in it without a word."""

import json
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

import msgspec

from leveret import events
from leveret.jobs import State

# By name; each is written into every field, whatever the field's type.
VALUES: dict[str, bytes] = {
    "a time without a zone": b'"2026-01-01T00:00:00"',
    "the first of all times": b'"0001-01-01T00:00:00Z"',
    "before all times": b'"0001-01-01T00:00:00+14:00"',
    "the last of all times": b'"9999-12-31T23:59:59.999999Z"',
    "after all times": b'"9999-12-31T23:59:59.999999-14:00"',
    "a leap second": b'"2026-06-30T23:59:60Z"',
    "an escaped NUL": b'"\\u0000"',
    "a NUL": b'"\0"',
    "half a surrogate pair": b'"\\ud800"',
    "no UTF-8": b'"\xff\xfe"',
    "no ASCII": '"é𝄞"'.encode(),
    "empty": b'""',
    "long": b'"%b"' % (b"x" * (1 << 20)),
    "2^31": b"2147483648",
    "2^63": b"9223372036854775808",
    "2^64": b"18446744073709551616",
    "-1": b"-1",
    "-2^63": b"-9223372036854775808",
    "5,000 digits": b"9" * 5_000,
    "0": b"0",
    "1.5": b"1.5",
    "1e308": b"1e308",
    "-1e308": b"-1e308",
    "1e999": b"1e999",
    "NaN": b"NaN",
    "-Infinity": b"-Infinity",
    "true": b"true",
    "null": b"null",
    "[]": b"[]",
    "{}": b"{}",
    "an unknown word": b'"unknown"',
    "the nil id": b'"00000000-0000-0000-0000-000000000000"',
    "a table of NULs": b'{"\\u0000": "\\u0000"}',
    "a long list": b"[%b1]" % (b"1," * 50_000),
    "deep": b"[" * 500 + b"]" * 500,
    "a deep table": b'{"a":' * 500 + b"1" + b"}" * 500,
    "too deep": b"[" * 100_000 + b"]" * 100_000,
    "never closed": b"[" * 1_000,
    "no JSON": b"}",
    "nothing": b"",
    **{f"state {state}": b'"%b"' % state.encode() for state in State},
}


@dataclass(frozen=True)
class Case:
    """One body of an event, an object, in which one field has one extreme."""

    kind: str  # of the routing key
    field: str
    value: str
    body: bytes
    id: UUID | None = None  # of a job

    def __str__(self) -> str:
        return f"{self.kind}: {self.field} is {self.value}"


KINDS: dict[str, tuple[type[msgspec.Struct], ...]] = {
    "job": (events.JobEvent,),
    "handlers": (events.HandlersRegistered,),
    "queue": typing.get_args(events.QueueEvent),
    "jobqueues": (events.JobQueuesListed,),
    "cancel": (events.CancelRequested,),
}
_LARGE = 1 << 16  # bytes; such a value is tried with one state
STATES = (State.RUNNING, State.RETRYING, State.SUCCEEDED, State.DEAD)


def cases(*, states: Sequence[State] = STATES) -> Iterator[Case]:
    """Return all; those of jobs for each of these states."""
    for kind, structs in KINDS.items():
        for struct in structs:
            for state in states if kind == "job" else (None,):
                yield from _cases(kind, struct, state)


def reaching() -> Iterator[Case]:
    """Return those that the database will see, and of each value one that it will not, since it can't be read."""
    refused: set[str] = set()
    for case in cases(states=[State.RETRYING]):
        try:
            events.decode(f"{case.kind}.q", b"[%b]" % case.body if case.kind == "job" else case.body)
        except ValueError:
            if case.value in refused:
                continue
            refused.add(case.value)
        yield case


def _cases(kind: str, struct: type[msgspec.Struct], state: State | None) -> Iterator[Case]:
    for path in [*_paths(struct), ("not_known",)]:
        for name, value in VALUES.items():
            if len(value) > _LARGE and state not in (None, State.RETRYING):
                continue
            if name.startswith("state ") and path[-1] != "state":  # another word
                continue
            job = uuid4() if kind == "job" else None
            whole = ordinary(struct, id=job, state=state)
            yield Case(kind, f"{struct.__name__}.{'.'.join(path)}", name, _written(whole, path, value), job)


def ordinary(struct: type[msgspec.Struct], *, id: UUID | None = None, state: State | None = None) -> dict[str, object]:
    """Return an event as JSON has it, with what it must have."""
    found = {one.encode_name: _some(one.type) for one in msgspec.structs.fields(struct) if one.required}
    tag = struct.__struct_config__.tag
    return (
        found | ({"type": tag} if tag else {}) | ({"id": str(id)} if id else {}) | ({"state": state} if state else {})
    )


def _some(kind: object) -> object:
    names = {UUID: str(uuid4()), str: "t", int: 1, float: 1.0, bool: True, State: "running", msgspec.Raw: 1}
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if kind is datetime:
        return datetime.now(UTC).isoformat()
    if typing.get_origin(kind) is dict:
        return {"t": _some(typing.get_args(kind)[1])}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return ordinary(kind)
    return names.get(kind)  # type: ignore[call-overload]


def _paths(struct: type[msgspec.Struct]) -> Iterator[tuple[str, ...]]:
    """Where a value can be: each field, and the fields of what is in it."""
    for field in msgspec.structs.fields(struct):
        yield (field.encode_name,)
        for part in (field.type, *typing.get_args(field.type)):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                key = (field.encode_name, "t") if typing.get_origin(field.type) is dict else (field.encode_name,)
                yield from ((*key, *rest) for rest in _paths(part))


def _written(whole: dict[str, object], path: tuple[str, ...], value: bytes) -> bytes:
    """Write an object whose field at `path` is `value`; what is already there of that name comes first, and twice."""
    name, *rest = path
    if rest:
        inner = whole.get(name)
        known = inner if isinstance(inner, dict) else {"reason": "r", "message": "m", "done": 1, "total": 2}
        value = _written(known, tuple(rest), value)
    members = [f"{json.dumps(key)}:{json.dumps(one)}".encode() for key, one in whole.items()]
    return b"{%b}" % b",".join([*members, b"%b:%b" % (json.dumps(name).encode(), value)])
