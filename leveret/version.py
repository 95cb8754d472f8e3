"""Leveret's own version, and which of those that consumers tell is the oldest.

The version is a constant and not what is installed: a process may run from a folder beside another one's metadata. A test
holds it against pyproject.toml.
"""

import re
from collections.abc import Iterable

VERSION = "0.2.0"
NOT_TOLD = "0.1.0"  # of a consumer whose heartbeats don't tell: those of all later versions do
_LONGEST = 40  # characters; anybody may send a heartbeat
_FORM = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9}){1,3})(?:[-+.]?[A-Za-z][A-Za-z0-9.+-]*)?")


def oldest(told: Iterable[str | None]) -> str | None:
    """Return the oldest of versions, where None is one that was not told; return None if there is none.

    They compare by their release numbers alone: 0.2, 0.2.0 and 0.2.0rc1 are the same age. What is no version is left out.
    """
    found = [NOT_TOLD if one is None else one for one in told]
    aged = [(release, text) for text in found if (release := _release(text)) is not None]
    return min(aged)[1] if aged else None


def is_older(version: str, than: str) -> bool:
    """Compare release numbers alone; what is no version is not older."""
    release, other = _release(version), _release(than)
    return release is not None and other is not None and release < other


def _release(text: str) -> tuple[int, ...] | None:
    form = _FORM.fullmatch(text) if len(text) <= _LONGEST else None
    if form is None:
        return None
    numbers = [int(number) for number in form[1].split(".")]
    return tuple(numbers + [0] * (4 - len(numbers)))
