"""Read a small JSON document that was posted, and say what is wrong with it where something is."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from leveret_producer.problems import Flaw, Refused
from leveret_producer.submission import flaw_of

T = TypeVar("T")


def decoded(
    body: bytes,
    decoder: msgspec.json.Decoder[T],
    structs: Mapping[str, type[msgspec.Struct]],
    *,
    kept: str,
    example: str,
) -> T:
    """Return what a body holds; raise Refused. `structs` are by the field that they stand in."""
    try:
        body.decode()
        return decoder.decode(body)
    except msgspec.ValidationError as problem:
        raise flawed(flaw_of(str(problem), structs), kept=kept) from problem
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        because = str(problem).removeprefix("JSON is malformed: ") if body.strip() else "it is empty"
        raise Refused("invalid-json", f"The body is not JSON: {because}. {kept} Send {example}.") from problem


def flawed(flaw: Flaw, *, kept: str) -> Refused:
    return Refused("invalid-request", f"{flaw.pointer or 'the body'}: {flaw.detail}. {kept}", [flaw])
