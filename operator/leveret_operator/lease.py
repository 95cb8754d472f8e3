"""The Lease that the operator of a namespace holds: what it says, whether it is free, and what is written to take it.

Of the same form as client-go writes. Its times are for people: whoever waits counts from when it saw the last change, by a
clock of its own, and whoever writes names the version that it read, so that of two only one has it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from leveret_operator.jobqueue import Json
from leveret_operator.kubernetes_json import map_in, whole

NAME = "leveret-operator"  # the same for every release: one operator a namespace
DURATION = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A process that holds the Lease or wants to."""

    identity: str  # new for each process
    heir_of: str | None = None  # how identities begin whose processes are dead for sure, None: none is known to be


@dataclass(frozen=True, slots=True)
class Seen:
    """The Lease as it was last found, and since when it has been so."""

    holder: str  # empty: nobody; of one that was deleted, who had it last
    version: str | None  # None: there is none
    duration: timedelta
    since: datetime


def see(before: Seen | None, found: Json | None, now: datetime) -> Seen:
    """Return what is now known; `found` is None where there is no Lease."""
    version = None if found is None else str(map_in(found, "metadata").get("resourceVersion"))
    if before is not None and before.version == version:
        return before
    if found is None:  # somebody deleted it, and its holder may still write
        return Seen(before.holder if before else "", None, before.duration if before else DURATION, now)
    spec = map_in(found, "spec")
    duration = timedelta(seconds=whole(spec.get("leaseDurationSeconds"), int(DURATION.total_seconds())))
    return Seen(str(spec.get("holderIdentity") or ""), version, duration, now)


def is_free(seen: Seen, who: Candidate, now: datetime) -> bool:
    """Whether `who` may take it: nobody has it, or `who` itself, one that is dead, or one that has stopped renewing it."""
    if seen.holder in ("", who.identity) or now - seen.since >= seen.duration:
        return True
    return who.heir_of is not None and seen.holder.startswith(who.heir_of)


def taken(found: Json | None, holder: str, namespace: str, now: datetime) -> Json:
    """Return the Lease as `holder` writes it, empty to release it; what others put on it stays."""
    found = {"metadata": {"name": NAME, "namespace": namespace}} if found is None else found
    spec, stamp = map_in(found, "spec"), now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    changes = spec.get("holderIdentity") != holder
    before = whole(spec.get("leaseTransitions"), -1)
    new = {
        "holderIdentity": holder,
        "leaseDurationSeconds": int(DURATION.total_seconds()) if holder else 1,
        "acquireTime": stamp if changes else spec.get("acquireTime"),
        "renewTime": stamp,
        "leaseTransitions": before + 1 if changes and holder else max(before, 0),
    }
    return {**found, "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {**spec, **new}}
