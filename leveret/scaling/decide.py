"""Decide how many replicas the consumers of one queue should have.

The operator asks once a tick. All it knows comes in as arguments, the clock included, so that a decision can be
recomputed from its record. What is not known is `None`; it can hold replicas where they are or raise them to what is
surely needed, and never lower them.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil

from leveret.durations import format_duration


@dataclass(frozen=True, slots=True)
class Policy:
    """What `spec.scaling` asks for."""

    min_replicas: int
    max_replicas: int  # >= min_replicas, >= 1
    backlog_per_replica: int  # jobs, > 0
    stabilization: timedelta  # replicas fall to the most that was wanted within it, and in one step
    zero_after: timedelta  # how long a queue must be proven empty before the last replica goes


@dataclass(frozen=True, slots=True)
class Observation:
    """What one tick saw."""

    at: datetime
    replicas: int  # what the Deployment was last told
    backlog: int | None  # jobs: ready, unacknowledged, or not yet confirmed
    at_least: int  # the part of the backlog that is known
    empty_since: datetime | None  # start of the proven zero; None while there is none
    source: int = 0  # the part of both that is another queue's dead letters, which go to one pod at a time
    written_by: datetime | None = None  # what the broker had by then is in its last whole writing
    unwritten: bool = False  # whether the backlog is more than that


@dataclass(frozen=True, slots=True)
class Want:
    at: datetime
    replicas: int
    unwritten: bool = False  # for more than the broker had written down: kept until it has written again


class Reason(StrEnum):
    BACKLOG = "Backlog"
    STABILIZATION = "Stabilization"
    PROVEN_ZERO = "ProvenZero"
    SIGNALS_STALE = "SignalsStale"
    MIN_REPLICAS = "MinReplicas"
    MAX_REPLICAS = "MaxReplicas"


@dataclass(frozen=True, slots=True)
class Decision:
    replicas: int
    reason: Reason  # the rule that had the last word
    message: str  # the same for a person, with the numbers
    wants: tuple[Want, ...]  # to be handed back at the next tick


def decide(policy: Policy, seen: Observation, wants: tuple[Want, ...]) -> Decision:
    """Return the replicas to write now, and why.

    Up is immediate and in one step. Down waits for the stabilization window (the delayed scale-down of Knative's
    autoscaler: the maximum over a window) and for the broker to have counted since, for up to half the window
    longer while what was wanted goes on falling, and to zero for a proven zero besides. The limits of the policy hold at
    once, in both directions.
    """
    if seen.backlog is None:
        return _unknown(policy, seen, wants)
    wanted, reason, message = _wanted(policy, seen.backlog, seen.source)
    recent = _in_force(policy, seen, _remember(wants, Want(seen.at, wanted, seen.unwritten)))
    held = _clamp(policy, min(seen.replicas, recent[0].replicas))
    if held > wanted:
        ago = timedelta(seconds=ceil((seen.at - recent[0].at).total_seconds()))
        window = format_duration(max(policy.stabilization, ago))
        message = f"{message}; {recent[0].replicas:,} were wanted within the last {window}"
        return Decision(held, Reason.STABILIZATION, message, recent)
    if wanted == 0:
        return Decision(*_towards_zero(policy, seen), recent)
    return Decision(wanted, reason, message, recent)


def keep_last(decision: Decision, because: str) -> Decision:
    """Keep one replica for a reason that is outside of the numbers."""
    return replace(decision, replicas=1, reason=Reason.STABILIZATION, message=f"{decision.message}; {because}")


def _in_force(policy: Policy, seen: Observation, wants: tuple[Want, ...]) -> tuple[Want, ...]:
    """Those of the window, and older ones while the window's are about to fall as well: a fall is one write."""
    longer, start = policy.stabilization / 2, seen.at - policy.stabilization
    written = min(start, seen.written_by or start)
    recent = *(want for want in wants[:-1] if want.at > (written if want.unwritten else start)), wants[-1]
    falls_on = len(recent) > 1 and recent[0].at <= start + longer
    return wants if falls_on and wants[0].at > start - longer else recent


def _unknown(policy: Policy, seen: Observation, wants: tuple[Want, ...]) -> Decision:
    """Hold, or rise to what is known to be there; for the window the time since the last look doesn't pass."""
    needed = _replicas(policy, seen.at_least, seen.source)
    replicas = _clamp(policy, max(seen.replicas, needed))
    message = "the broker's numbers are missing or too old, so nothing is taken away"
    if seen.at_least:
        message = f"{message}; at least {seen.at_least:,} jobs wait or run"
    unseen = seen.at - wants[-1].at if wants else timedelta(0)  # each look leaves a want of its own as the last
    later = tuple(replace(want, at=want.at + unseen) for want in wants)
    return Decision(replicas, Reason.SIGNALS_STALE, message, _remember(later, Want(seen.at, needed, unwritten=True)))


def _wanted(policy: Policy, backlog: int, source: int) -> tuple[int, Reason, str]:
    """What the backlog alone asks for, within the limits."""
    by_backlog = _replicas(policy, backlog, source)
    counted = f"backlog {backlog:,}"
    if source > policy.backlog_per_replica:
        counted = f"{counted}, of which {source:,} are dead letters of another queue and ask for one replica,"
    message = f"{counted} at {policy.backlog_per_replica:,} a replica wants {by_backlog:,}"
    if by_backlog > policy.max_replicas:
        return policy.max_replicas, Reason.MAX_REPLICAS, f"{message}, the maximum is {policy.max_replicas:,}"
    if by_backlog < policy.min_replicas:
        return policy.min_replicas, Reason.MIN_REPLICAS, f"{message}, the minimum is {policy.min_replicas:,}"
    return by_backlog, Reason.BACKLOG, message


def _replicas(policy: Policy, jobs: int, source: int) -> int:
    """What so many jobs ask for; however many of them are the source's, those ask for one replica at most."""
    return ceil((jobs - source + min(source, policy.backlog_per_replica)) / policy.backlog_per_replica)


def _towards_zero(policy: Policy, seen: Observation) -> tuple[int, Reason, str]:
    """An unproven zero keeps the last replica, and starts none."""
    after = format_duration(policy.zero_after)
    if seen.empty_since is None:
        return min(1, seen.replicas), Reason.STABILIZATION, "the queue seems empty, which is not proven yet"
    if seen.at - seen.empty_since < policy.zero_after:
        return min(1, seen.replicas), Reason.STABILIZATION, f"the queue is empty; the last replica goes after {after}"
    return 0, Reason.PROVEN_ZERO, f"the queue has been empty for {after} or longer"


def _remember(recent: tuple[Want, ...], new: Want) -> tuple[Want, ...]:
    """Keep only what can still be the maximum: falling numbers, the oldest and largest first."""
    return (*(want for want in recent if want.replicas > new.replicas), new)


def _clamp(policy: Policy, replicas: int) -> int:
    return max(policy.min_replicas, min(replicas, policy.max_replicas))
