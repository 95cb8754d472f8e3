"""What a run found, as ratios, and whether they are high enough.

A ratio belongs to one repetition: Leveret's rate over that of the reference right after it. The median of a run's
repetitions is what is held against the limit; the lowest and the highest show how far it can be trusted.
"""

import math
import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass


class WrongLimits(Exception):
    """The file of limits can't be used; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """One turn of both: rates in 1/s, above 0."""

    subject: float
    reference: float

    @property
    def ratio(self) -> float:
        return self.subject / self.reference


@dataclass(frozen=True, slots=True)
class Result:
    """All repetitions of one measure, at least one."""

    name: str
    repetitions: tuple[Repetition, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        return tuple(one.ratio for one in self.repetitions)

    @property
    def lowest(self) -> float:
        return min(self.ratios)

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def highest(self) -> float:
        return max(self.ratios)


@dataclass(frozen=True, slots=True)
class Verdict:
    result: Result
    limit: float

    @property
    def reached(self) -> bool:
        return self.result.median >= self.limit


def judge(results: Collection[Result], limits: Mapping[str, float]) -> list[Verdict]:
    """Hold each result against its limit."""
    return [Verdict(result, limits[result.name]) for result in results]


def checked_limits(read: object, names: Collection[str]) -> dict[str, float]:
    """Return the limits out of what was read from the file, one for each name; raise WrongLimits."""
    if not isinstance(read, dict):
        raise WrongLimits("it must map each measure's name to a number")
    if odd := [str(name) for name in read if name not in names]:
        raise WrongLimits(f"it names what is not measured: {', '.join(odd)}; there are {', '.join(names)}")
    if missing := [name for name in names if name not in read]:
        raise WrongLimits(f"it lacks a limit for {', '.join(missing)}")
    limits: dict[str, float] = {}
    for name in names:
        value = read[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise WrongLimits(f"the limit of {name} is {value!r}, and must be a number above 0")
        limits[name] = float(value)
    return limits
