"""Which fields Kubernetes has in a version, by its own description: servers of tests are newer than the oldest one supported.

    python -m tests.support.kubernetes_fields SWAGGER > tests/chart/kubernetes-1.30.json

SWAGGER is the file api/openapi-spec/swagger.json of Kubernetes' sources at the tag of the version.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What the chart, the operator and the examples make.
KINDS = {
    "ClusterRole", "ConfigMap", "CustomResourceDefinition", "Deployment", "NetworkPolicy", "Pod", "PodDisruptionBudget", "PodTemplate",
    "Role", "RoleBinding", "Secret", "Service", "ServiceAccount", "StatefulSet", "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}  # fmt: skip
STABLE = ".v1."
OPEN = "*"  # a map: its keys are anybody's

Types = dict[str, dict[str, str]]


def types(swagger: Any) -> Types:
    """Return each type's fields, and of each field the type of what is in it: empty where that is no object, `*T` in a map of T."""
    whole = {name: each for name, each in swagger["definitions"].items() if "properties" in each}
    found: Types = {}
    waiting = [name for name in whole if STABLE in name and name.rpartition(".")[2] in KINDS]
    while waiting:
        name = waiting.pop()
        fields = {field: _within(value, whole) for field, value in whole[name]["properties"].items()}
        fresh = found.setdefault(short(name), {field: short(kind) for field, kind in fields.items()})
        assert fresh == {field: short(kind) for field, kind in fields.items()}, f"two types are called {short(name)}"
        waiting += [kind for each in fields.values() if (kind := each.removeprefix(OPEN)) and short(kind) not in found]
    return found


def unknown(value: Any, kind: str, known: Types, path: str = "") -> Iterator[str]:
    """Yield the path of each field that its type does not have."""
    if isinstance(value, list):
        for each in value:
            yield from unknown(each, kind, known, path)
    elif isinstance(value, dict) and kind.startswith(OPEN):
        for key, each in value.items():
            yield from unknown(each, kind.removeprefix(OPEN), known, f"{path}.{key}")
    elif isinstance(value, dict) and kind:
        for key, each in value.items():
            if key in known[kind]:
                yield from unknown(each, known[kind][key], known, f"{path}.{key}")
            else:
                yield f"{path}.{key}"


def short(name: str) -> str:
    return (OPEN if name.startswith(OPEN) else "") + name.rpartition(".")[2].removeprefix(OPEN)


def _within(value: Any, whole: Any) -> str:
    if "$ref" in value:
        name = str(value["$ref"]).removeprefix("#/definitions/")
        return name if name in whole else ""
    if "items" in value:
        return _within(value["items"], whole)
    inner = _within(value["additionalProperties"], whole) if "additionalProperties" in value else ""
    return f"{OPEN}{inner}" if inner else ""


if __name__ == "__main__":
    made = types(json.loads(Path(sys.argv[1]).read_text()))
    print("{", ",\n".join(f"{json.dumps(name)}: {json.dumps(made[name])}" for name in sorted(made)), "}", sep="\n")
