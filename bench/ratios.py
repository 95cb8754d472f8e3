"""What a run found, as ratios, and whether they are within their limits.

A ratio belongs to one repetition: what Leveret reached over what the reference reached right after it. The median of a
run's repetitions is what is held against the limit; the lowest and the highest show how far it can be trusted.
"""

import re
import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_LIMIT = re.compile(r"at (least|most) (\d+(?:\.\d+)?)")


class WrongLimits(Exception):
    """The file of limits can't be used; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """One turn of both: the same figure in the same unit, above 0."""

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
class Limit:
    """A ratio of rates is the better the higher it is, one of times the better the lower it is."""

    value: float
    highest: bool = False

    def allows(self, ratio: float) -> bool:
        return ratio <= self.value if self.highest else ratio >= self.value


@dataclass(frozen=True, slots=True)
class Verdict:
    result: Result
    limit: Limit

    @property
    def reached(self) -> bool:
        return self.limit.allows(self.result.median)


def judge(results: Collection[Result], limits: Mapping[str, Limit]) -> list[Verdict]:
    """Hold each result against its limit."""
    return [Verdict(result, limits[result.name]) for result in results]


def part_of(read: object, part: str) -> object:
    """Return a part of what was read from the file of limits; raise WrongLimits."""
    if not isinstance(read, dict) or part not in read:
        raise WrongLimits(f"it has no part `{part}`")
    return read[part]


def checked_limits(read: object, names: Collection[str]) -> dict[str, Limit]:
    """Return the limits out of a part of the file, one for each name; raise WrongLimits."""
    if not isinstance(read, dict):
        raise WrongLimits("it must map each measure's name to a limit")
    if odd := [str(name) for name in read if name not in names]:
        raise WrongLimits(f"it names what is not measured: {', '.join(odd)}; there are {', '.join(names)}")
    if missing := [name for name in names if name not in read]:
        raise WrongLimits(f"it lacks a limit for {', '.join(missing)}")
    return {name: _limit(name, read[name]) for name in names}


def _limit(name: str, said: object) -> Limit:
    parts = _LIMIT.fullmatch(said) if isinstance(said, str) else None
    if not parts or not float(parts[2]):
        raise WrongLimits(f"the limit of {name} is {said!r}, and must be `at least` or `at most` a number above 0")
    return Limit(float(parts[2]), highest=parts[1] == "most")
