"""Consumer Deployments that a new operator would make otherwise are updated a few at a time, not all of them at once.

What a release puts into a Deployment changes those of all JobQueues, and a thousand of them rolled out together take the
cluster's pods, its images' registry and the work of the jobs that are running away in one moment. What an author changes,
what was changed by hand and what is missing does not wait, and takes nobody's turn.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from leveret_operator.jobqueue import Deployment, Json
from leveret_operator.kubernetes_json import map_in

AT_ONCE = 5
LONGEST = timedelta(minutes=5)  # one whose pods never get ready gives its turn to another then
ASKED_EVERY = timedelta(seconds=2)
# The lists that the API server merges item by item, and by what; of any other list whoever sets it sets the whole.
_MERGED_BY = {
    **dict.fromkeys(("containers", "initContainers", "env", "volumes", "imagePullSecrets"), "name"),
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "owners": "uid",
}


@dataclass(frozen=True, slots=True)
class Rollout:
    began: datetime
    mark_before: str | None  # the Deployment's until it is changed


class Rollouts:
    """Those under way by reason of a new operator, by the JobQueue's name."""

    def __init__(self) -> None:
        self._under_way: dict[str, Rollout] = {}

    def begin(self, name: str, deployments: Mapping[str, Deployment], now: datetime) -> bool:
        """Whether this one's turn has come; it lasts until its Deployment is rolled out."""
        self._under_way = under_way(self._under_way, deployments, now)
        if name not in self._under_way and len(self._under_way) >= AT_ONCE:
            return False
        self._under_way.setdefault(name, Rollout(now, deployments[name].mark))
        return True

    def goes_on(self, name: str, now: datetime) -> None:
        """Count one that an earlier operator began."""
        self._under_way[name] = Rollout(now, "")

    def end(self, name: str) -> None:
        """Give the turn back: the Deployment could not be changed."""
        self._under_way.pop(name, None)


def under_way(
    rollouts: Mapping[str, Rollout], deployments: Mapping[str, Deployment], now: datetime
) -> dict[str, Rollout]:
    """Return those of them that are not over."""

    def lasts(name: str, rollout: Rollout) -> bool:
        there = deployments.get(name)
        if there is None or now - rollout.began >= LONGEST:
            return False
        return there.mark == rollout.mark_before or not there.rolled_out

    return {name: rollout for name, rollout in rollouts.items() if lasts(name, rollout)}


def is_as_applied(there: Deployment, manifest: Json) -> bool:
    """Whether applying the manifest anew would change nothing: it was applied last, and nobody changed what it says.

    What others added is theirs, and stays as it is. Amounts that Kubernetes writes otherwise than we do look changed:
    then there is one write too many.
    """
    if there.mark is None or there.mark != mark_of(manifest):
        return False
    return _holds(json.loads(there.shape), _said(manifest))


def ours_in(there: Deployment, manifest: Json) -> str:
    """Return a fingerprint of what a Deployment has where the manifest says something, without what others added."""
    text = json.dumps(_same_fields(json.loads(there.shape), _said(manifest)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def mark_of(manifest: Json) -> str:
    (mark,) = map_in(map_in(manifest, "metadata"), "annotations").values()
    return str(mark)


def _said(manifest: Json) -> Json:
    meta = map_in(manifest, "metadata")
    return {
        "labels": meta["labels"],
        "owners": meta["ownerReferences"],
        "template": map_in(manifest, "spec")["template"],
    }


def _same_fields(there: object, ours: object, by: str | None = None) -> object:
    if isinstance(there, Mapping) and isinstance(ours, Mapping):
        return {key: _same_fields(there.get(key), value, _MERGED_BY.get(key)) for key, value in ours.items()}
    if by and isinstance(there, list) and isinstance(ours, list):
        found = {one.get(by): one for one in there}
        return [_same_fields(found.get(one.get(by)), one) for one in ours]
    return there


def _holds(there: object, ours: object) -> bool:
    if not (there or ours):
        return True  # the API server leaves out what is empty or false
    match ours:
        case Mapping():
            return isinstance(there, Mapping) and all(_holds(there.get(key), value) for key, value in ours.items())
        case Sequence() if not isinstance(ours, str):
            found = there if isinstance(there, list) else []
            return all(any(_holds(one, value) for one in found) for value in ours)
    return there == ours
