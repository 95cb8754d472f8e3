"""Who set the fields of an object, as the API server keeps it in `metadata.managedFields`."""

from collections.abc import Mapping
from typing import NamedTuple

from leveret_operator.jobqueue import Json
from leveret_operator.kubernetes_json import map_in, maps_in

FIELD_MANAGER = "leveret-operator"
Path = tuple[str, ...]  # such as f:spec, f:replicas


class Fields(NamedTuple):
    """Some that this operator sets, and by which operation."""

    operation: str
    paths: tuple[Path, ...]


APPLIED = Fields("Apply", (("f:spec", "f:template"), ("f:metadata", "f:labels"), ("f:metadata", "f:ownerReferences")))
REPLICAS = Fields("Update", (("f:spec", "f:replicas"),))


def other_manager(meta: Json, fields: Fields) -> str | None:
    """Return who last set one of these fields since this operator did; None where it isn't kept.

    Times are whole seconds: who set one in the same second is meant, too.

    Of sizes that are set through `/scale` it is kept only where somebody owned `replicas` before, and not of 0.
    """
    entries = [
        (str(entry.get("time", "")), str(entry.get("manager")), entry) for entry in maps_in(meta, "managedFields")
    ]
    ours = (at for at, who, entry in entries if (who, entry.get("operation")) == (FIELD_MANAGER, fields.operation))
    since = max(ours, default="")
    others = [
        (at, who)
        for at, who, entry in entries
        if who != FIELD_MANAGER
        and at >= since
        and any(_holds(map_in(entry, "fieldsV1"), path) for path in fields.paths)
    ]
    return max(others)[1] if others else None


def _holds(fields: Json, path: Path) -> bool:
    for step in path:
        below = fields.get(step)
        if not isinstance(below, Mapping):
            return False
        fields = below
    return True
