"""Many things, so many at a time: what anybody may send is not taken on all at once."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def chunks(whole: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield its parts in order, each of `size` but the last."""
    for start in range(0, len(whole), size):
        yield whole[start : start + size]
