"""Make a check of the schema that a consumer registered: within a bound of size, and nothing is fetched.

A consumer marks a schema that excludes only what its handler surely refuses. Of any other, an older consumer's, only
`"type": "object"` is checked: it says what pydantic writes, and pydantic takes more.
"""

from dataclasses import dataclass, field
from typing import Any

from leveret.events import RELAXED
from leveret_producer.patterns import HEAVIEST, pattern
from leveret_producer.payload_check import BOUNDS, Array, Check, Number, Object, Part, Text

MOST_PARTS = 5_000  # and values of enumerations, and names of properties
DEEPEST = 100
_ANY = Part()
_TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "null": ("null", (type(None),)),
    "boolean": ("a boolean", (bool,)),
    "integer": ("a whole number", (int, float)),
    "number": ("a number", (int, float)),
    "string": ("a string", (str,)),
    "array": ("an array", (list,)),
    "object": ("an object", (dict,)),
}


class Unusable(Exception):
    """A schema that nothing is checked by; the message says why."""


@dataclass(frozen=True, slots=True)
class Compiled:
    part: Part | None  # None: there is nothing to check
    size: int


def compiled(schema: dict[str, Any] | None) -> Compiled:
    """Return the check of a registered schema; raise Unusable."""
    if schema is None:
        return Compiled(None, 1)
    if schema.get(RELAXED) != 1:
        is_object = schema.get("type") == "object"
        return Compiled(Part("an object", {dict: None}) if is_object else None, 1)
    made = _Making(schema.get("$defs"))
    part = made.part(schema, 0)
    return Compiled(part, made.size)


@dataclass(slots=True)
class _Making:
    definitions: Any
    size: int = 0
    patterns: dict[str, int] = field(default_factory=dict)  # with their weights
    named: dict[str, Part] = field(default_factory=dict)

    def part(self, schema: Any, depth: int) -> Part:
        self._count(1)
        if depth > DEEPEST:
            raise Unusable(f"it is nested deeper than {DEEPEST} levels")
        if not isinstance(schema, dict) or not schema:
            return _ANY
        if "$ref" in schema:
            return self._referred(schema["$ref"], depth)
        return self._fill(Part(), schema, depth)

    def _referred(self, reference: Any, depth: int) -> Part:
        """Return a part by its name in the schema itself; of what is elsewhere nothing is known."""
        name = reference.removeprefix("#/$defs/") if isinstance(reference, str) else ""
        found = self.definitions.get(name) if isinstance(self.definitions, dict) else None
        if not isinstance(found, dict) or not reference.startswith("#/$defs/") or "$ref" in found:
            return _ANY
        if name not in self.named:
            self.named[name] = Part()
            self._fill(self.named[name], found, depth + 1)
        return self.named[name]

    def _fill(self, part: Part, schema: dict[str, Any], depth: int) -> Part:
        asked: Any = schema.get("type")
        types: list[Any] = asked if isinstance(asked, list) else [asked]
        if types and all(isinstance(one, str) and one in _TYPES for one in types):
            part.noun = _TYPES[types[0]][0]
            part.checks = {kind: self._check(kind, types, schema, depth) for one in types for kind in _TYPES[one][1]}
        values = schema.get("enum")
        if isinstance(values, list) and not any(isinstance(one, list | dict) for one in values):
            self._count(len(values))
            part.values = frozenset(values)
        choices = schema.get("anyOf")
        if isinstance(choices, list):
            part.choices = tuple(self.part(one, depth + 1) for one in choices)
        if part.checks is not None and part.values is None and not part.choices:
            part.plain = frozenset(kind for kind, check in part.checks.items() if check is None)
        return part

    def _check(self, kind: type, types: list[str], schema: dict[str, Any], depth: int) -> Check | None:
        if kind is str:
            return self._text(_TYPES[types[0]][0], schema)
        if kind in (int, float):
            return _number(_TYPES[types[0]][0], "number" not in types, schema)
        if kind is list:
            return self._array(schema, depth)
        return self._object(schema, depth) if kind is dict else None

    def _text(self, noun: str, schema: dict[str, Any]) -> Text | None:
        found = pattern(schema["pattern"]) if isinstance(schema.get("pattern"), str) else None
        if found is not None:
            self.patterns[found.text] = found.weight
            found = found if sum(self.patterns.values()) <= HEAVIEST else None
        least, most = _length(schema, "minLength"), _length(schema, "maxLength")
        return None if found is None and least is None and most is None else Text(noun, least, most, found)

    def _array(self, schema: dict[str, Any], depth: int) -> Array:
        first = schema.get("prefixItems")
        items = self.part(schema["items"], depth + 1) if "items" in schema else None
        return Array(
            _length(schema, "minItems"),
            _length(schema, "maxItems"),
            tuple(self.part(one, depth + 1) for one in first) if isinstance(first, list) else (),
            None if items is _ANY else items,
        )

    def _object(self, schema: dict[str, Any], depth: int) -> Object:
        properties, required, others = (schema.get(key) for key in ("properties", "required", "additionalProperties"))
        required = [one for one in required if isinstance(one, str)] if isinstance(required, list) else []
        self._count(len(required))
        named = properties if isinstance(properties, dict) else {}
        rest = self.part(others, depth + 1)
        return Object(
            _length(schema, "minProperties"),
            tuple(required),
            {name: self.part(one, depth + 1) for name, one in named.items()},
            None if rest is _ANY else rest,
            others is False,
        )

    def _count(self, more: int) -> None:
        self.size += more
        if self.size > MOST_PARTS:
            raise Unusable(f"it has more than {MOST_PARTS:,} parts")


def _number(noun: str, whole: bool, schema: dict[str, Any]) -> Number | None:
    wanted = (int,) if whole else (int, float)
    bounds = tuple(
        (holds, schema[key], said) for key, (holds, said) in BOUNDS.items() if type(schema.get(key)) in wanted
    )
    return Number(noun, whole, bounds) if bounds or whole else None


def _length(schema: dict[str, Any], key: str) -> int | None:
    value = schema.get(key)
    return value if type(value) is int else None
