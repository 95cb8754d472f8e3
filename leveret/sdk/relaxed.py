"""The JSON Schema of a payload, as wide as its handler.

Pydantic's own JSON Schema says what it writes; what it takes is more: "5" for a number, a name by its second alias,
whatever a validator turns into the type. A producer that checks by it refuses what the handler would have taken. This
one is made from what pydantic validates by (its core schema), and excludes only what is surely refused: what is not
known here, or may be changed before it is checked, takes anything. It has no `not`, `oneOf` or `if`, so that whoever
leaves a keyword out takes more, never less.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, EnumMeta
from typing import Any

from leveret.events import RELAXED

Schema = dict[str, Any]

_LARGEST = 2**63  # the messages' encoder writes no larger ones
_SCALARS = (str, int, bool, type(None))
_ABOUT_TEXT = ("strip_whitespace", "to_lower", "to_upper")
_CHANGES = (
    *(f"str_{one}" for one in _ABOUT_TEXT),
    *("coerce_numbers_to_str", "regex_engine", "validate_by_name", "validate_by_alias"),
)
_NUMERIC = r"\d|(?i:inf|nan)"
_BOOLEAN = r"(?i)^\s*(?:0|1|t|f|y|n|on|off|yes|no|true|false)\s*$"
_BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
_WITHIN = ("schema", "lax_schema", "strict_schema", "json_schema")


def relaxed(core: object) -> Schema | None:
    """Return the schema of what pydantic's core schema takes as JSON, marked as such; None if that is anything."""
    made = _Relaxing(core)
    schema = made.of(core)
    return {RELAXED: 1, **schema, **({"$defs": made.definitions} if made.definitions else {})} if schema else None


class _Relaxing:
    def __init__(self, core: object) -> None:
        self.definitions: dict[str, Schema] = {}
        self._refs: dict[str, object] = {}
        self._names: dict[str, str] = {}
        # Which configuration holds for a part depends on where it stands: what one says counts everywhere.
        self._said = {(key, config[key]) for config in _configs(core) for key in _CHANGES if key in config}

    def of(self, core: object, config: Mapping[str, Any] = {}) -> Schema:
        """Return the schema of one part; `config` is that of the model around it."""
        made = self._made.get(core.get("type", "")) if isinstance(core, dict) else None
        return made(self, core, config) if made is not None and isinstance(core, dict) else {}

    def _inner(self, core: Schema, config: Mapping[str, Any]) -> Schema:
        return self.of(core.get("schema"), config)

    def _str(self, core: Schema, _: object) -> Schema:
        as_text = core.get("coerce_numbers_to_str") or ("coerce_numbers_to_str", True) in self._said
        schema: Schema = {"type": ["string", "number", "boolean"] if as_text else ["string"]}
        if any(core.get(one) or (f"str_{one}", True) in self._said for one in _ABOUT_TEXT):
            return schema  # it is checked once it is changed
        schema |= _lengths(core, "minLength", "maxLength")
        python = core.get("regex_engine") == "python-re" or ("regex_engine", "python-re") in self._said
        if isinstance(core.get("pattern"), str) and not python:
            schema["pattern"] = core["pattern"]
        return schema

    def _int(self, core: Schema, _: object) -> Schema:
        return {"type": ["integer", "boolean", "string"], "pattern": r"\d", **_bounds(core)}

    def _float(self, core: Schema, _: object) -> Schema:
        return {"type": ["number", "boolean", "string"], "pattern": _NUMERIC, **_bounds(core)}

    def _literal(self, core: Schema, _: object) -> Schema:
        values = [one.value if isinstance(one, Enum) else one for one in core.get("expected", [])]
        return {"enum": values} if all(type(one) in _SCALARS and _is_written(one) for one in values) else {}

    def _enum(self, core: Schema, _: object) -> Schema:
        cls = core["cls"]
        if type(cls).__call__ is not EnumMeta.__call__ or cls._missing_.__func__ is not Enum._missing_.__func__:  # type: ignore[attr-defined]
            return {}  # it makes a member of more than the members' values
        values = [*(one.value for one in core.get("members", [])), *cls._value2member_map_]
        if all(type(one) is str for one in values):
            return {"enum": list(dict.fromkeys(values))} if values else {}
        if all(type(one) is int and _is_written(one) for one in values):
            return _any_of([{"enum": list(dict.fromkeys(values))}, {"type": ["boolean", "string"]}])
        return {}

    def _list(self, core: Schema, config: Mapping[str, Any]) -> Schema:
        items = self.of(core.get("items_schema"), config)
        return {"type": ["array"], **({"items": items} if items else {}), **_lengths(core, "minItems", "maxItems")}

    def _set(self, core: Schema, config: Mapping[str, Any]) -> Schema:
        schema = self._list(core, config)
        schema.pop("maxItems", None)  # equal ones count once, and are no mistake: no uniqueItems either
        return schema

    def _tuple(self, core: Schema, config: Mapping[str, Any]) -> Schema:
        parts = core.get("items_schema", [])
        rest = core.get("variadic_item_index")
        if rest == 0 and len(parts) == 1:
            return self._list({**core, "items_schema": parts[0]}, config)
        schema: Schema = {"type": ["array"], "prefixItems": [self.of(one, config) for one in parts[:rest]]}
        if not any(self._may_be_left_out(one) for one in parts):
            schema["minItems"] = len(parts) - (rest is not None)
        if rest is None:
            schema["maxItems"] = len(parts)
        return schema

    def _dict(self, core: Schema, config: Mapping[str, Any]) -> Schema:
        values = self.of(core.get("values_schema"), config)
        schema: Schema = {"type": ["object"], **({"additionalProperties": values} if values else {})}
        return schema | _lengths(core, "minProperties", "")  # keys that are read as equal count once

    def _union(self, core: Schema, config: Mapping[str, Any]) -> Schema:
        choices = core.get("choices", [])
        parts = list(choices.values()) if isinstance(choices, dict) else choices
        return _any_of([self.of(one[0] if isinstance(one, tuple) else one, config) for one in parts])

    def _default(self, core: Schema, config: Mapping[str, Any]) -> Schema:
        return self._inner(core, config) if core.get("on_error", "raise") == "raise" else {}

    def _wrapped(self, core: Schema, config: Mapping[str, Any]) -> Schema:
        """Of validators around a part only pydantic's URLs are known: they hand on what they get."""
        function = core.get("function", {}).get("function")
        return self._inner(core, config) if getattr(function, "__module__", "") == "pydantic.networks" else {}

    def _model(self, core: Schema, _: object) -> Schema:
        return {} if core.get("custom_init") else self._inner(core, core.get("config") or {})

    def _fields(self, core: Schema, config: Mapping[str, Any]) -> Schema:
        fields = core.get("fields", {})
        named = fields if isinstance(fields, dict) else {one["name"]: one for one in fields}
        config = core.get("config") or config
        schema: Schema = {"type": ["object"]}
        properties: dict[str, Schema] = {}
        required = []
        all_known = True
        for name, field in named.items():
            key = field.get("validation_alias") or name
            if not isinstance(key, str) or (key != name and self._by_name()):
                all_known = False  # it may come by several names
                continue
            given = field.get("init", True)
            properties[key] = self.of(field.get("schema"), config) if given else {}
            if given and field.get("required", core["type"] != "typed-dict"):
                required += [key] if not self._may_be_left_out(field.get("schema")) else []
        forbids = (core.get("extra_behavior") or config.get("extra_fields_behavior")) == "forbid" and all_known
        if properties:
            schema["properties"] = properties
        if required:
            schema["required"] = required
        return schema | ({"additionalProperties": False} if forbids else {})

    def _by_name(self) -> bool:
        return not self._said.isdisjoint({("validate_by_name", True), ("validate_by_alias", False)})

    def _definitions(self, core: Schema, config: Mapping[str, Any]) -> Schema:
        self._refs |= {one["ref"]: one for one in core.get("definitions", []) if "ref" in one}
        return self._inner(core, config)

    def _reference(self, core: Schema, _: object) -> Schema:
        ref = core.get("schema_ref", "")
        if ref not in self._refs:
            return {}
        if ref not in self._names:
            name = self._names[ref] = str(len(self._names))
            self.definitions[name] = {}  # its place, for whatever refers to itself
            self.definitions[name] = self.of(self._refs[ref])
        return {"$ref": f"#/$defs/{self._names[ref]}"}

    def _may_be_left_out(self, core: object, seen: frozenset[str] = frozenset()) -> bool:
        """Say whether there may be a default, however deep in validators."""
        if not isinstance(core, dict):
            return False
        ref = core.get("schema_ref", "") if core.get("type") == "definition-ref" else ""
        if core.get("type") == "default" or ref in seen - {""}:
            return True
        parts = [core.get(key) for key in _WITHIN] + [self._refs.get(ref)]
        for key in ("steps", "choices"):
            inner = core.get(key, [])
            parts += list(inner.values()) if isinstance(inner, dict) else list(inner)
        return any(self._may_be_left_out(one, seen | {ref}) for one in parts)

    _made: Mapping[str, Callable[["_Relaxing", Schema, Mapping[str, Any]], Schema]] = {
        "none": lambda _, core, config: {"type": ["null"]},
        "bool": lambda _, core, config: {"type": ["boolean", "number", "string"], "pattern": _BOOLEAN},
        "int": _int,
        "float": _float,
        "decimal": lambda _, core, config: {"type": ["number", "boolean", "string"], "pattern": _NUMERIC},
        "str": _str,
        **dict.fromkeys(("bytes", "url", "multi-host-url", "uuid"), lambda _, core, config: {"type": ["string"]}),
        **dict.fromkeys(
            ("date", "time", "datetime", "timedelta"),
            lambda _, core, config: {"type": ["string", "number"], "pattern": r"\d"},
        ),
        "literal": _literal,
        "enum": _enum,
        "list": _list,
        "set": _set,
        "frozenset": _set,
        "tuple": _tuple,
        "dict": _dict,
        "function-after": _inner,
        "function-wrap": _wrapped,
        "custom-error": _inner,
        "default": _default,
        "nullable": lambda self, core, config: _any_of([self._inner(core, config), {"type": ["null"]}]),
        "union": _union,
        "tagged-union": _union,
        "chain": lambda self, core, config: self.of((core.get("steps") or [None])[0], config),
        "lax-or-strict": lambda self, core, config: _any_of(
            [self.of(core.get(key), config) for key in ("lax_schema", "strict_schema")]
        ),
        "json-or-python": lambda self, core, config: self.of(core.get("json_schema"), config),
        "model": _model,
        "dataclass": _model,
        **dict.fromkeys(("model-fields", "dataclass-args", "typed-dict"), _fields),
        "definitions": _definitions,
        "definition-ref": _reference,
    }


def _any_of(parts: list[Schema]) -> Schema:
    """Return what takes all that one of them takes."""
    parts = [one for part in parts for one in (part["anyOf"] if part.keys() == {"anyOf"} else [part])]
    distinct = [one for index, one in enumerate(parts) if one not in parts[:index]]
    if not distinct or {} in distinct:
        return {}
    if len(distinct) == 1:
        return distinct[0]
    if len(distinct) == 2 and distinct[1] == {"type": ["null"]} and "type" in distinct[0]:
        return {**distinct[0], "type": [*distinct[0]["type"], "null"]}  # other keywords don't look at null
    return {"anyOf": distinct}


def _lengths(core: Schema, least: str, most: str) -> Schema:
    found = {least: core.get("min_length"), most: core.get("max_length")}
    return {key: value for key, value in found.items() if key and type(value) is int and 0 <= value < _LARGEST}


def _bounds(core: Schema) -> Schema:
    found = {_BOUNDS[key]: core.get(key) for key in _BOUNDS}
    return {key: value for key, value in found.items() if type(value) in (int, float) and _is_written(value)}


def _is_written(value: Any) -> bool:
    return abs(value) < _LARGEST if type(value) is int else type(value) is not float or math.isfinite(value)


def _configs(core: object) -> Iterator[Mapping[str, Any]]:
    """Return all that may be a configuration, wherever it stands."""
    waiting, seen = [core], set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict | list | tuple) and id(part) not in seen:
            seen.add(id(part))
            config = part.get("config") if isinstance(part, dict) else None
            if isinstance(config, dict):
                yield {key: value for key, value in config.items() if isinstance(value, bool | str)}
            waiting += part.values() if isinstance(part, dict) else part
