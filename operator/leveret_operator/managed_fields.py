"""Who set the fields of an object, as the API server keeps it in `metadata.managedFields`."""

from collections.abc import Mapping

from leveret_operator.jobqueue import Json
from leveret_operator.kubernetes_json import map_in, maps_in

FIELD_MANAGER = "leveret-operator"
Path = tuple[str, ...]  # such as f:spec, f:replicas
APPLIED: tuple[Path, ...] = (("f:spec", "f:template"), ("f:metadata", "f:labels"), ("f:metadata", "f:ownerReferences"))
REPLICAS: tuple[Path, ...] = (("f:spec", "f:replicas"),)


def other_manager(meta: Json, paths: tuple[Path, ...]) -> str | None:
    """Return who last set one of these fields and is not this operator; None where it isn't kept.

    Of sizes that are set through `/scale` it is kept only where somebody owned `replicas` before, and not of 0.
    """
    others = [
        (str(entry.get("time", "")), str(entry.get("manager")))
        for entry in maps_in(meta, "managedFields")
        if entry.get("manager") != FIELD_MANAGER and any(_holds(map_in(entry, "fieldsV1"), path) for path in paths)
    ]
    return max(others)[1] if others else None


def _holds(fields: Json, path: Path) -> bool:
    for step in path:
        below = fields.get(step)
        if not isinstance(below, Mapping):
            return False
        fields = below
    return True
