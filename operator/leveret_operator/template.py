"""Merge a user's pod template into ours: lists by name, maps key by key, and what is ours stays ours.

A value of ours that the template repeats unchanged is fine; one that it changes is refused by the field's name, so that
nothing a user wrote is silently left out. The schema takes any JSON here: what can't be merged is refused by its name,
too, and what we merge nothing into is the API server's to check. Variables LEVERET_… are ours, also those that version
0.1.0 let pass: such a one is left out and said, for a refusal would hold up at an upgrade what ran before.
"""

from collections.abc import Mapping, Sequence

from leveret_operator.jobqueue import Json
from leveret_operator.kubernetes_json import map_in, maps_in

# Names the volumes for whose sake the cluster autoscaler need not keep a node.
EVICTABLE = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"

# Lists whose entries are told apart by a field; other lists are the user's whole.
_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "name",
    "imagePullSecrets": "name",
}
# Entries and fields that are ours whole: nothing can be added to one of our variables or probes.
_WHOLE = frozenset({"env", "volumes", "volumeMounts", "ports", "startupProbe", "livenessProbe", "readinessProbe"})
# Fields of the pod and of our container that are ours even where we leave them out.
_OURS = frozenset(
    {
        "spec.containers[consumer].args",
        "spec.restartPolicy",
        "spec.hostNetwork",
        "spec.hostPID",
        "spec.hostIPC",
        "spec.containers[consumer].lifecycle",
        "spec.containers[consumer].workingDir",
        "spec.containers[consumer].securityContext.privileged",
        "spec.containers[consumer].securityContext.capabilities.add",
    }
)
# Ours by default only: a user may choose another user, or none for the image's own, or want Services' variables. Resources are
# the user's whole: requests of ours above limits of theirs would be refused.
_YIELDS = frozenset(
    {
        "spec.securityContext.runAsUser",
        "spec.securityContext.runAsGroup",
        "spec.securityContext.fsGroup",
        "spec.enableServiceLinks",
        f"metadata.annotations.{EVICTABLE}",
        "spec.containers[consumer].imagePullPolicy",
        "spec.containers[consumer].resources",
        "spec.containers[consumer].securityContext.readOnlyRootFilesystem",
        *(f"spec.containers[consumer].env[{name}]" for name in ("HOME", "USER", "LOGNAME")),
    }
)

_ENVIRONMENT = "spec.containers[consumer].env"
_USERS_VARIABLES = ("GRACE", "LANE", "LOOP", "OUTBOX_DATABASE_URL", "TOKEN", "URL")
# Version 0.1.0 told them to consumers, and so refused them in a template.
_ALWAYS_REFUSED = (
    "CONCURRENCY", "DELIVERY_LIMIT", "GRACE_PERIOD", "HANDLERS", "LOG", "POD", "QUEUE", "RETRY", "TIMEOUT", "VERSION",
)  # fmt: skip
_STAY = frozenset(f"LEVERET_{name}" for name in (*_USERS_VARIABLES, *_ALWAYS_REFUSED))

_SET_BY_US = "is set by Leveret and can't be changed here; remove it from the template"

# What a slip in our container's name looks like: the API server would only miss an image.
_NO_CONTAINER = "is a container of your own, and has no image; the one that is there already is called "


class TemplateInvalid(ValueError):
    """The template changes a field that Leveret sets, or has something in it that can't be merged."""

    def __init__(self, field: str, problem: str = _SET_BY_US) -> None:
        super().__init__(f"spec.consumer.template.{field} {problem}")
        self.field = field


def merge_template(ours: Json, theirs: Json) -> dict[str, object]:
    """Return ours with theirs added; raise TemplateInvalid naming the first field that would change ours."""
    return _merge_maps(ours, theirs, "")


def left_out(theirs: Json) -> tuple[str, ...]:
    """Return, a sentence each, which variables of the template are left out."""
    containers = maps_in(map_in(theirs, "spec"), "containers")
    names = (one.get("name") for each in containers if each.get("name") == "consumer" for one in maps_in(each, "env"))
    return tuple(
        f"spec.consumer.template sets {name:.100}, which is left out, as only Leveret may set it; remove it"
        for name in names
        if isinstance(name, str) and _is_left_out(name)
    )


def _is_left_out(variable: str) -> bool:
    return variable.startswith("LEVERET_") and variable not in _STAY


def _merge_maps(ours: Json, theirs: Json, path: str) -> dict[str, object]:
    merged = dict(ours)
    for key, value in theirs.items():
        field = f"{path}.{key}" if path else key
        if field in _OURS and value not in (None, False, [], "Always"):
            raise TemplateInvalid(field)
        if value is None and field in _YIELDS:
            merged.pop(key, None)  # left to the image, or to Kubernetes
            if key == "runAsUser" and "runAsGroup" not in theirs:
                merged.pop("runAsGroup", None)  # of our user; a group alone is refused by the container runtime
        elif key not in ours or field in _YIELDS:
            merged[key] = value
        else:
            merged[key] = _merge(ours[key], value, key, field)
    return merged


def _merge(ours: object, theirs: object, key: str, field: str) -> object:
    match ours, theirs:
        case (Mapping(), Mapping()) if key not in _WHOLE:
            return _merge_maps(ours, theirs, field)
        case (Mapping(), None) if field == "metadata.annotations":
            return ours  # what a user's own tool writes where it has none
        case (Sequence(), Sequence()) if key in _KEYS and not isinstance(theirs, str):
            return _merge_lists(ours, theirs, key, field)
    if ours != theirs:
        raise TemplateInvalid(field)
    return ours


def _merge_lists(ours: Sequence[object], theirs: Sequence[object], listed: str, field: str) -> list[object]:
    merged, key = list(ours), _KEYS[listed]
    places = {entry.get(key): place for place, entry in enumerate(ours) if isinstance(entry, Mapping)}
    for number, entry in enumerate(theirs):
        if not isinstance(entry, Mapping):
            raise TemplateInvalid(f"{field}[{number}]", "is no map of fields")
        name = entry.get(key)
        if key in entry and not isinstance(name, str):
            raise TemplateInvalid(f"{field}[{number}].{key}", "is no text")
        if field == _ENVIRONMENT and isinstance(name, str) and _is_left_out(name):
            continue
        if name not in places:
            if listed == "containers" and not entry.get("image"):
                raise TemplateInvalid(f"{field}[{name or number}]", f"{_NO_CONTAINER}{' and '.join(map(str, places))}")
            merged.append(dict(entry))
            continue
        before = merged[places[name]]
        assert isinstance(before, Mapping)
        if listed in _WHOLE:
            if f"{field}[{name}]" in _YIELDS:
                merged[places[name]] = dict(entry)
            elif dict(entry) != before:
                raise TemplateInvalid(f"{field}[{name}]")
            continue
        merged[places[name]] = _merge_maps(before, entry, f"{field}[{name}]")
    return merged
