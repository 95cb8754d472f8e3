"""Tell what one turn found: metrics, the store, the status and Events.

Metrics and the store hear of every turn (and leave out what is no news); the status is written when it is worth a write.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from leveret.events import QueueObserved
from leveret.scaling.memory import Look
from leveret.topology import dead_queue
from leveret_operator.conditions import CONTESTED, changed, conditions
from leveret_operator.deployment import selector_text
from leveret_operator.jobqueue import Condition, Deployment, JobQueue
from leveret_operator.kept import Kept
from leveret_operator.kubernetes_api import ApiRefused
from leveret_operator.metrics import NOTHING_KNOWN, QueueNumbers
from leveret_operator.status import Status, build_status, worth_writing
from leveret_operator.tools import Tools


async def report(jobqueue: JobQueue, kept: Kept, tools: Tools, seen: Look | None) -> None:
    numbers = _numbers(jobqueue, kept, tools, seen)
    tools.metrics.show(jobqueue.queue, numbers)
    tools.announcements.observe(jobqueue, _observed(numbers, seen, tools.clock()))
    await _tell(jobqueue, kept, tools, seen, numbers)


async def report_standing_back(jobqueue: JobQueue, kept: Kept, tools: Tools) -> None:
    """Tell of a JobQueue without a queue: the numbers of that name are another's to tell."""
    there = tools.registry.deployment_of(jobqueue)
    await _tell(jobqueue, kept, tools, None, _pods_of(NOTHING_KNOWN, there))


async def _tell(jobqueue: JobQueue, kept: Kept, tools: Tools, seen: Look | None, numbers: QueueNumbers) -> None:
    """Bring the conditions up to date; write the status, and Events about what is new."""
    now, before = tools.clock(), kept.conditions
    kept.states = replace(kept.states, contested=kept.contests.state(now))
    kept.conditions = conditions(
        kept.states, before, generation=jobqueue.generation, now=now, adjusted=jobqueue.adjusted
    )
    if not _is_as_recorded(kept, before):
        await _write_status(jobqueue, kept, tools, seen, numbers)
    told = set[str]()
    for condition in changed(before, kept.conditions):
        if _is_news(condition, before) and condition.reason not in told:  # one cause shows in several conditions
            told.add(condition.reason)
            text = f"{condition.type}: {condition.message}"
            kind: Literal["Normal", "Warning"] = "Warning" if condition.troubled else "Normal"
            await tools.events.tell(jobqueue, kind, condition.reason, text, now=now)
    if CONTESTED in {one.type for one in before} - {one.type for one in kept.conditions}:
        text = "for a minute nobody else has set what this operator sets"
        await tools.events.tell(jobqueue, "Normal", "ContestOver", text, now=now)


def _is_as_recorded(kept: Kept, before: tuple[Condition, ...]) -> bool:
    """Whether all that is known since the start is written already; the numbers there would be lost for some seconds."""
    same = [(one.type, one.status, one.reason, one.generation) for one in kept.conditions]
    recorded = [(one.type, one.status, one.reason, one.generation) for one in before]
    return kept.status is None and kept.states.not_yet_known and same == recorded


def _is_news(condition: Condition, before: tuple[Condition, ...]) -> bool:
    """The first look at a new JobQueue finds everything changed; of that, only whether it is ready is news, and as what."""
    if condition.status == "Unknown":
        return False
    if condition.type in ("Ready", "SpecAdjusted", CONTESTED):
        return True
    old = next((old for old in before if old.type == condition.type), None)
    if old is None or old.status == "Unknown":
        return False
    # Each start from zero gives other reasons why all is well; what it is about, ScaledUp and ScaledDown have told.
    calm = not condition.troubled and not old.troubled and condition.status == old.status
    return not (calm and condition.type == "ConsumersAvailable")


def _numbers(jobqueue: JobQueue, kept: Kept, tools: Tools, seen: Look | None) -> QueueNumbers:
    there = tools.registry.deployment_of(jobqueue)
    dead = tools.bulk.depth(dead_queue(jobqueue.queue))
    demand = seen.demand if seen else None
    numbers = QueueNumbers(
        ready=demand.backlog.ready if demand else None,
        unacked=demand.backlog.unacked if demand else None,
        dead_letters=dead.ready if dead else None,
        oldest_age_seconds=demand.oldest_age if demand else None,
        arrival_rate=demand.arrival_rate if demand else None,
        completion_rate=demand.completion_rate if demand else None,
        replicas=None,
        desired_replicas=kept.desired,
    )
    return _pods_of(numbers, there)


def _pods_of(numbers: QueueNumbers, there: Deployment | None) -> QueueNumbers:
    return replace(numbers, replicas=there.there, ready_replicas=there.ready) if there else numbers


def _observed(numbers: QueueNumbers, seen: Look | None, now: datetime) -> QueueObserved:
    return QueueObserved(
        at=now,
        ready=numbers.ready,
        unacked=numbers.unacked,
        backlog=seen.demand.backlog.total if seen else None,
        dead_letters=numbers.dead_letters,
        arrival_rate=numbers.arrival_rate,
        completion_rate=numbers.completion_rate,
        oldest_age_seconds=numbers.oldest_age_seconds,
        replicas=numbers.replicas,
        desired_replicas=numbers.desired_replicas,
        ready_replicas=numbers.ready_replicas,
        leveret_version=seen.demand.leveret_version if seen else None,
    )


async def _write_status(jobqueue: JobQueue, kept: Kept, tools: Tools, seen: Look | None, numbers: QueueNumbers) -> None:
    now = tools.clock()
    status = build_status(
        Status(
            generation=jobqueue.generation,
            conditions=kept.conditions,
            demand=seen.demand if seen else None,
            dead_letters=numbers.dead_letters,
            replicas=numbers.replicas,
            ready_replicas=numbers.ready_replicas,
            desired=numbers.desired_replicas,
            selector=selector_text(jobqueue),
            decisions=kept.decisions,
        )
    )
    since_last = now - kept.status_at if kept.status_at else timedelta.max
    if not kept.saying.over(now) or not worth_writing(status, kept.status, since_last):
        return
    try:
        await tools.api.write_status(jobqueue, status)
    except ApiRefused as problem:
        kept.saying.longer(now)
        if problem.status != 404:  # the JobQueue is just being deleted
            raise
    else:
        kept.saying.end()
        kept.status, kept.status_at = status, now
