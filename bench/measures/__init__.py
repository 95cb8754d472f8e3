"""The measures: each a context in which Leveret and its reference can take turns."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from bench.servers import Servers

Figures = Mapping[str, float]  # by the name of the result that each belongs to, above 0
Turn = Callable[[], Awaitable[Figures]]  # does its turn once, and cleans up after itself


@dataclass(frozen=True, slots=True)
class Turns:
    subject: Turn
    reference: Turn


def rates(name: str, subject: Callable[[], Awaitable[float]], reference: Callable[[], Awaitable[float]]) -> Turns:
    """Make turns of two that return what they did a second."""

    async def subjects() -> Figures:
        return {name: await subject()}

    async def references() -> Figures:
        return {name: await reference()}

    return Turns(subjects, references)


@dataclass(frozen=True, slots=True)
class Measure:
    name: str
    compared: str  # what ÷ what
    open: Callable[[Servers], AbstractAsyncContextManager[Turns]]
    figures: tuple[str, ...] = ()  # of a turn, where there are others than that of the measure's own name
    weight: int = 1  # of its share of the time that is left


@dataclass(frozen=True, slots=True)
class PureMeasure:
    """Needs no servers."""

    name: str
    compared: str
    open: Callable[[], AbstractAsyncContextManager[Turns]]
    figures: tuple[str, ...] = ()
    weight: int = 1


def results_of(measure: Measure | PureMeasure) -> tuple[str, ...]:
    """Name the results that a measure has."""
    return measure.figures or (measure.name,)
