"""Which of a message's headers go with its copies, and into the store: anybody may have written them.

Simple ones, up to 64 KiB, without what the broker itself reads or writes.
"""

from collections.abc import Collection, Mapping
from typing import TypeGuard

from leveret.jobs import Header

_MOST = 64 * 1024  # bytes; what we add has to fit beside them into one frame of 128 KiB
_LONGEST_NAME = 255  # bytes
_LARGEST_FLOAT = 3.4e38  # our client library writes 32 bits


def simple(headers: Mapping[str, object], without: Collection[str] = ()) -> dict[str, Header]:
    """Return those that travel, as far as there is room."""
    kept: dict[str, Header] = {}
    room = _MOST
    for key, value in headers.items():
        if not _is_simple(value) or key.startswith("x-") or key.upper() in {"CC", "BCC"} or key in without:
            continue
        size = len(key.encode()) + 10 + (len(value.encode()) if isinstance(value, str) else 0)
        if size <= room and len(key.encode()) <= _LONGEST_NAME:
            kept[key] = value
            room -= size
    return kept


def _is_simple(value: object) -> TypeGuard[Header]:
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    return isinstance(value, str) or (isinstance(value, float) and abs(value) <= _LARGEST_FLOAT)
