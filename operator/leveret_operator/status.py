"""The status of a JobQueue as it is written, and when it is worth a write.

A number that is not known is null, which in a merge patch takes the field away; it is never 0. Numbers alone are written
at most every 10 s; a condition, a decision or the wanted size at once.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from leveret.scaling.demand import Demand
from leveret_operator.jobqueue import Condition, Decided, Json

NUMBERS_EVERY = timedelta(seconds=10)
DECISIONS_KEPT = 10


@dataclass(frozen=True, slots=True)
class Status:
    generation: int
    conditions: tuple[Condition, ...]
    demand: Demand | None
    dead_letters: int | None
    replicas: int | None  # pods there are
    ready_replicas: int | None
    desired: int | None
    selector: str
    decisions: tuple[Decided, ...]  # the newest first


def add_decision(decisions: tuple[Decided, ...], new: Decided) -> tuple[Decided, ...]:
    return (new, *decisions)[:DECISIONS_KEPT]


def build_status(status: Status) -> dict[str, object]:
    """Return the object to merge into `status`."""
    return {
        "observedGeneration": status.generation,
        "reason": first_reason(status.conditions, status.decisions),
        "conditions": [_condition(condition) for condition in status.conditions],
        "queue": _queue(status.demand, status.dead_letters),
        "leveretVersion": status.demand.leveret_version if status.demand else None,
        "replicas": status.replicas,
        "readyReplicas": status.ready_replicas,
        "desiredReplicas": status.desired,
        "selector": status.selector,
        "decisions": [_decision(decided) for decided in status.decisions],
    }


def first_reason(conditions: tuple[Condition, ...], decisions: tuple[Decided, ...]) -> str | None:
    """The one word for a table: of the first condition that needs a person, else of the newest decision."""
    bad = (condition.reason for condition in conditions if condition.troubled)
    return next(bad, decisions[0].reason if decisions else None)


def worth_writing(new: Json, last: Json | None, since_last: timedelta) -> bool:
    """Whether to write now, given what was written last and how long ago."""
    if last is None:
        return True
    if new == last:
        return False
    if since_last >= NUMBERS_EVERY:
        return True
    at_once = ("observedGeneration", "desiredReplicas", "decisions", "selector")
    if any(new[key] != last[key] for key in at_once):
        return True
    return _outlines(new) != _outlines(last)


def _outlines(status: Json) -> list[object]:
    """Status and reason of each condition: messages hold numbers and may wait."""
    entries = status["conditions"]
    assert isinstance(entries, list)
    return [(entry["type"], entry["status"], entry["reason"]) for entry in entries]


def _queue(demand: Demand | None, dead_letters: int | None) -> Json:
    return {
        "ready": demand.backlog.ready if demand else None,
        "unacked": demand.backlog.unacked if demand else None,
        "backlog": demand.backlog.total if demand else None,
        "deadLetters": dead_letters,
        "arrivalRate": _rounded(demand.arrival_rate) if demand else None,
        "completionRate": _rounded(demand.completion_rate) if demand else None,
        "oldestAgeSeconds": _rounded(demand.oldest_age) if demand else None,
        "drainEtaSeconds": _rounded(demand.drain_eta) if demand else None,
    }


def _condition(condition: Condition) -> Json:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": _time(condition.since),
        "observedGeneration": condition.generation,
    }


def _decision(decided: Decided) -> Json:
    return {
        "time": _time(decided.at),
        "from": decided.before,
        "to": decided.after,
        "reason": decided.reason,
        "message": decided.message,
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
