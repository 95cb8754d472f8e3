"""The tables of docs/reference: the chart's values from the comments in values.yaml, the JobQueue's fields from the CRD.

A page keeps the words that people wrote; only what stands between the two marks is made here.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

BEGIN = "<!-- made by charts/render.py: begin -->\n"
END = "<!-- made by charts/render.py: end -->\n"

# Objects of Kubernetes, shown whole: their keys are Kubernetes' own.
WHOLE = {"resources", "podSecurityContext", "securityContext", "affinity"}


def pages(root: Path) -> dict[Path, str]:
    """Return the pages as they should be."""
    folder = root / "docs/reference"
    values = root / "charts/leveret/values.yaml"
    version = yaml.safe_load((root / "manifests/crd.yaml").read_text())["spec"]["versions"][0]
    spec, status = (version["schema"]["openAPIV3Schema"]["properties"][part] for part in ("spec", "status"))
    tables = {
        "values.md": value_table(values.read_text()),
        "jobqueue.md": f"## spec\n\n{field_table(spec)}\n## status\n\n{field_table(status)}",
    }
    return {folder / name: between_marks((folder / name).read_text(), table) for name, table in tables.items()}


def between_marks(page: str, table: str) -> str:
    """Return the page with the table between its marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


def value_table(text: str) -> str:
    """Return a table of every key of values.yaml, its default, and the comment above it."""
    rows = [f"| `{key}` | {code(default)} | {words} |\n" for key, default, words in value_rows(text)]
    return "| value | default | what it is |\n| --- | --- | --- |\n" + "".join(rows)


def value_rows(text: str) -> Iterator[tuple[str, Any, str]]:
    """Yield each key's path, default and comment."""
    lines = text.splitlines()

    def walk(node: yaml.MappingNode, path: tuple[str, ...]) -> Iterator[tuple[str, Any, str]]:
        for key, value in node.value:
            here = (*path, key.value)
            if isinstance(value, yaml.MappingNode) and value.value and key.value not in WHOLE:
                yield from walk(value, here)
            else:
                yield ".".join(here), plain(value), comment_above(lines, key.start_mark.line)

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from walk(root, ())


def plain(node: yaml.Node) -> Any:
    return yaml.safe_load(yaml.serialize(node))


def comment_above(lines: list[str], line: int) -> str:
    found: list[str] = []
    while line and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].strip().removeprefix("#").strip())
    return escaped(" ".join(found))


def field_table(schema: dict[str, Any]) -> str:
    """Return a table of every field below the schema."""
    rows = [f"| `{path}` | {kind} | {default} | {words} |\n" for path, kind, default, words in field_rows(schema, "")]
    return "| field | type | default | what it is |\n| --- | --- | --- | --- |\n" + "".join(rows)


def field_rows(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield each field's path, type with bounds, default, and description."""
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, kind_of(field), default_of(field, name in required), escaped(field["description"])
        yield from field_rows(field.get("items", field), f"{here}[]" if "items" in field else here)


def default_of(field: dict[str, Any], required: bool) -> str:
    """Return what a field is when nobody writes it; an empty object says nothing that its own fields don't."""
    if field.get("default", {}) != {}:
        return code(field["default"])
    return "required" if required else ""


def kind_of(field: dict[str, Any]) -> str:
    """Return the type in words: an enumeration's members, a number's bounds, a duration."""
    if "enum" in field:
        return " or ".join(f"`{member}`" for member in field["enum"])
    rules = " ".join(rule["message"] for rule in field.get("x-kubernetes-validations", []))
    kind = "duration" if "not a duration" in rules else str(field["type"])
    bounds = [str(field[bound]) for bound in ("minimum", "maximum") if bound in field]
    return f"{kind} {'…'.join(bounds)}" if len(bounds) == 2 else kind


def code(value: Any) -> str:
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def escaped(text: str) -> str:
    return text.replace("|", "\\|")
