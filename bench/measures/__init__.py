"""The measures: each a context in which Leveret and its reference can take turns."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from bench.servers import Servers

Rate = Callable[[], Awaitable[float]]  # does its turn once, cleans up after itself, returns what it did a second


@dataclass(frozen=True, slots=True)
class Turns:
    subject: Rate
    reference: Rate


@dataclass(frozen=True, slots=True)
class Measure:
    name: str
    compared: str  # what ÷ what
    open: Callable[[Servers], AbstractAsyncContextManager[Turns]]


@dataclass(frozen=True, slots=True)
class PureMeasure:
    """Needs no servers."""

    name: str
    compared: str
    open: Callable[[], AbstractAsyncContextManager[Turns]]
