"""What a handler's schema excludes, as parts that are made once and then asked for each payload.

A check is linear in the payload, and bounded: it counts its steps (of about half a microsecond), and once there are
too many the rest is taken unchecked. Its answer is the first flaw, never a list of all. Both, like any keyword that
is not known here, take more than the schema does, never less, since nothing in it says `not`: the consumer has the
last word.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from leveret_producer.patterns import Pattern

_LONGEST = 300  # characters of what is said
_WORDS: Mapping[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


class OutOfWork(Exception):
    """The check would take too long."""


@dataclass(slots=True)
class Work:
    """What a check may still do."""

    left: int

    def take(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise OutOfWork


@dataclass(slots=True)
class Found:
    """A flaw, and where: the steps to it, the last one first."""

    said: str
    steps: list[str | int] = field(default_factory=list)
    of_value: bool = False  # of the right type

    def below(self, step: str | int) -> "Found":
        self.steps.append(step)
        return self


class Check(Protocol):
    """Looks at values of one type."""

    def __call__(self, value: Any, work: Work) -> Found | None: ...


@dataclass(slots=True)
class Part:
    """What a schema says of one value. It can be changed, as one may be part of itself."""

    noun: str = ""  # what it is meant to be
    checks: Mapping[type, Check | None] | None = None  # by the types that it takes; None: any
    values: frozenset[object] | None = None
    choices: tuple["Part", ...] = ()
    plain: frozenset[type] = frozenset()  # values of these types have no flaw: they needn't be asked about

    def flaw(self, value: object, work: Work) -> Found | None:
        work.take(1)
        kind = type(value)
        if self.checks is not None:
            if kind not in self.checks:
                return Found(f"is {_WORDS[kind]}, not {self.noun}")
            check = self.checks[kind]
            if check is not None and (found := check(value, work)) is not None:
                return found
        if self.values is not None and (kind in (list, dict) or value not in self.values):
            return Found(f"is none of {_some(self.values)}")
        return self._of_choices(value, work) if self.choices else None

    def _of_choices(self, value: object, work: Work) -> Found | None:
        """Return None if one of them takes the value, else the flaw of the one that comes nearest."""
        nearest: Found | None = None
        for choice in self.choices:
            found = choice.flaw(value, work)
            if found is None:
                return None
            if nearest is None or (len(found.steps), found.of_value) > (len(nearest.steps), nearest.of_value):
                nearest = found
        assert nearest is not None
        return (
            nearest
            if nearest.steps or nearest.of_value
            else Found(f"is {_WORDS[type(value)]}, and no type that is taken")
        )


@dataclass(frozen=True, slots=True)
class Text:
    noun: str
    least: int | None
    most: int | None
    pattern: Pattern | None

    def __call__(self, value: str, work: Work) -> Found | None:
        if self.least is not None and len(value) < self.least:
            return Found(f"has {len(value)} characters, and needs {self.least}", of_value=True)
        if self.most is not None and len(value) > self.most:
            return Found(f"has {len(value)} characters, and may have {self.most}", of_value=True)
        if self.pattern is None:
            return None
        work.take(self.pattern.steps(len(value)))
        if self.pattern.matches(value):
            return None
        if self.noun != "a string":
            return Found(f"is a string, and can't be read as {self.noun}")
        return Found(_short(f"does not match {self.pattern.text!r}"), of_value=True)


Bound = tuple[Callable[[float, float], bool], float, str]
BOUNDS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "minimum": (operator.ge, "at least"),
    "maximum": (operator.le, "at most"),
    "exclusiveMinimum": (operator.gt, "more than"),
    "exclusiveMaximum": (operator.lt, "less than"),
}


@dataclass(frozen=True, slots=True)
class Number:
    noun: str
    whole: bool
    bounds: tuple[Bound, ...]

    def __call__(self, value: float, work: Work) -> Found | None:
        if self.whole and not (type(value) is int or value.is_integer()):
            return Found(f"is a number with a fraction, not {self.noun}")
        try:
            number = value if self.whole else float(value)  # as the handler reads it
        except OverflowError:
            return None
        for holds, bound, said in self.bounds:
            if not holds(number, bound):
                return Found(f"is not {said} {bound}", of_value=True)
        return None


@dataclass(frozen=True, slots=True)
class Array:
    least: int | None
    most: int | None
    first: tuple[Part, ...]
    items: Part | None

    def __call__(self, value: list[object], work: Work) -> Found | None:
        if self.least is not None and len(value) < self.least:
            return Found(f"has {len(value)} items, and needs {self.least}", of_value=True)
        if self.most is not None and len(value) > self.most:
            return Found(f"has {len(value)} items, and may have {self.most}", of_value=True)
        for index, part in enumerate(self.first[: len(value)]):
            if (found := part.flaw(value[index], work)) is not None:
                return found.below(index)
        if self.items is None:
            return None
        work.take(1)
        plain = self.items.plain
        for index, item in enumerate(value[len(self.first) :], len(self.first)):
            if type(item) not in plain and (found := self.items.flaw(item, work)) is not None:
                return found.below(index)
        work.take(len(value) >> 3)
        return None


@dataclass(frozen=True, slots=True)
class Object:
    least: int | None
    required: tuple[str, ...]
    properties: Mapping[str, Part]
    others: Part | None
    closed: bool  # there may be no others

    def __call__(self, value: dict[str, object], work: Work) -> Found | None:
        work.take(1 + ((len(self.required) + len(self.properties)) >> 3))
        for name in self.required:
            if name not in value:
                return Found(_short(f"{name!r} is a required property"), of_value=True)
        if self.least is not None and len(value) < self.least:
            return Found(f"has {len(value)} properties, and needs {self.least}", of_value=True)
        for name, part in self.properties.items():
            if (
                name in value
                and type(inner := value[name]) not in part.plain
                and (found := part.flaw(inner, work)) is not None
            ):
                return found.below(name)
        if self.closed or self.others is not None:
            return self._of_others(value, work)
        return None

    def _of_others(self, value: dict[str, object], work: Work) -> Found | None:
        others = self.others or Part()
        for name, inner in value.items():
            if name in self.properties:
                continue
            if self.closed:
                return Found("is a property that the handler does not have", of_value=True).below(name)
            if type(inner) not in others.plain and (found := others.flaw(inner, work)) is not None:
                return found.below(name)
        work.take(len(value) >> 3)
        return None


def _some(values: frozenset[object]) -> str:
    return _short(", ".join(sorted(map(repr, values))))


def _short(said: str) -> str:
    return said if len(said) <= _LONGEST else said[:_LONGEST] + "…"
