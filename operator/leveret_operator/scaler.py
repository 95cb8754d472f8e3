"""Observe, decide and act: the size of one JobQueue's Deployment.

The deciding is pure (`leveret.scaling`); here the numbers are fetched for it, and what it decides is written: through the
Deployment's `/scale`, in one write, and only when it is another size than the Deployment was told.
"""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from leveret.events import QueueDecided
from leveret.scaling.backlog import BULK_GOOD_FOR, Depth
from leveret.scaling.decide import Decision, keep_last
from leveret.scaling.memory import Look, begin, look, not_empty_after_all
from leveret_operator.available import judge
from leveret_operator.broker import NotDeclared, QueueDiffers
from leveret_operator.conditions import UNKNOWN, State
from leveret_operator.dead_letter_sources import Source
from leveret_operator.jobqueue import Decided, JobQueue
from leveret_operator.kept import Kept
from leveret_operator.kubernetes_api import ApiGone, ApiRefused
from leveret_operator.live_depths import QueueMissing
from leveret_operator.reconcile import MISSING, declare_queue
from leveret_operator.status import add_decision
from leveret_operator.tools import Tools

log = structlog.get_logger(__name__)

ACTIVE_FOR = timedelta(seconds=30)  # so long after the last sign of work the live depth is read


def look_at_consumers(jobqueue: JobQueue, kept: Kept, tools: Tools) -> None:
    """Say whether the consumers can run, and if not, why."""
    there, pods = tools.registry.deployment_of(jobqueue), tools.registry.pods_of(jobqueue)
    kept.availability = judge(there, pods, kept.availability, tools.clock(), jobqueue.consumer.startup_timeout)
    kept.say(consumers=kept.availability.state)


async def observe(jobqueue: JobQueue, kept: Kept, tools: Tools) -> tuple[Look, Decision] | None:
    """Look at the queue; None while there is no Deployment to decide about."""
    there = tools.registry.deployment_of(jobqueue)
    if there is None:
        kept.say(scaling=State(False, "NoDeployment", "there is no Deployment to scale"))
        return None
    if not kept.replicas_known:
        kept.replicas_known = True
        kept.memory = replace(kept.memory, wants=begin(there.wanted, tools.clock()).wants)
    bulk = tools.bulk.depth(jobqueue.queue)
    if kept.declared_in is not None and (there.wanted or bulk is None or _lately_active(kept, tools.clock())):
        await _read_live(jobqueue, kept, tools)
    now = tools.clock()
    before = kept.memory
    source = (kept.source_live, tools.bulk.depth(kept.taken_from.dead_queue)) if kept.taken_from else None
    seen = look(jobqueue.policy, before, (kept.live, bulk), replicas=there.wanted, now=now, source=source)
    kept.memory, decision = seen.memory, seen.decision
    if jobqueue.problem is not None and decision.replicas < there.wanted:
        text = f"{decision.message}; nothing is taken away until the spec can be understood"
        decision = replace(decision, replicas=there.wanted, message=text)
    if decision.replicas == 0 < there.wanted and not kept.availability.may_go(now):
        decision = keep_last(decision, "none of its kind was ready yet, so the last one stays for 10 min to show why")
    if decision.replicas == 0 < there.wanted and not await _is_empty(jobqueue, kept, tools):
        log.info("not scaled to zero: work came, or not every queue answered that it is empty", queue=jobqueue.queue)
        decision, kept.memory = not_empty_after_all(jobqueue.policy, kept.memory, before, seen.observation)
    kept.say(metrics=_freshness(seen, kept, tools))
    return seen, decision


async def _read_live(jobqueue: JobQueue, kept: Kept, tools: Tools) -> None:
    match await tools.broker.live(jobqueue.queue):
        case QueueMissing():
            kept.live, kept.declared_in = None, None
            kept.say(topology=MISSING)
            await declare_queue(jobqueue, kept, tools)
        case None:
            kept.live = None
        case depth:
            kept.live = depth
    kept.source_live = await _read_source(kept.taken_from, tools) if kept.taken_from else None


async def _read_source(source: Source, tools: Tools) -> Depth | None:
    """The dead letters that wait; a queue of theirs that was deleted is declared again."""
    match await tools.broker.live(source.dead_queue):
        case QueueMissing():
            try:
                await tools.broker.declare(source.queue)
            except (NotDeclared, QueueDiffers) as problem:
                log.warning(
                    "the queue of dead letters can't be declared", queue=source.dead_queue, problem=str(problem)
                )
            return None
        case answer:
            return answer


async def _is_empty(jobqueue: JobQueue, kept: Kept, tools: Tools) -> bool:
    """The last check before zero, of everything that the consumers take from; work that is told of meanwhile counts."""
    last_work = kept.memory.signals.last_work
    if not await tools.broker.is_empty(jobqueue.queue):
        return False
    if kept.taken_from is not None and not await tools.broker.has_none_ready(kept.taken_from.dead_queue):
        return False
    return kept.memory.signals.last_work == last_work


async def act(jobqueue: JobQueue, kept: Kept, tools: Tools, seen: Look, decision: Decision) -> None:
    """Write the size if it is another than the Deployment was told."""
    now, before = tools.clock(), seen.observation.replicas
    kept.desired = decision.replicas
    refused = decision.replicas != before and not kept.scaling.over(now)
    if not refused:
        kept.say(scaling=_deciding(seen, kept, decision))
    if decision.replicas <= before:
        kept.work_since = None
    another = kept.size is not None and kept.size != before
    if decision.replicas == before:
        kept.scaling.end()
        known = seen.demand.backlog.total is not None  # what is held because nothing is known is not agreed to
        kept.size = before if known or kept.size is None else kept.size
        return
    there, contest = tools.registry.deployment_of(jobqueue), kept.contests.replicas
    if another and not contest.may_correct(there.scaled_by if there else None, now):
        return
    if refused or kept.contests.too_soon(now):
        return
    try:
        revision = await tools.api.scale(jobqueue.deployment, decision.replicas, owned=another)
    except ApiRefused as problem:
        kept.size = None if problem.status >= 500 else kept.size
        kept.scaling.longer(now)
        kept.say(scaling=State(False, "ScaleRefused", f"the API server refused the new size: {problem}"))
        return
    except (ApiGone, asyncio.CancelledError):
        kept.size = None  # it may have been written: what is found next is agreed to
        raise
    kept.scaling.end()
    written = kept.contests.wrote_at = tools.clock()
    kept.size, because = decision.replicas, decision.message
    if another:
        contest.corrected(now)
        because = f"{because}; {contest.manager} had set {before}"
    tools.registry.scaled(jobqueue.name, decision.replicas, revision)
    if decision.replicas > before:
        if kept.work_since is not None:
            tools.metrics.reacted(jobqueue.queue, max(0.0, (written - kept.work_since).total_seconds()))
        kept.work_since = None
    await _record(jobqueue, kept, tools, Decided(written, before, decision.replicas, decision.reason, because))


async def _record(jobqueue: JobQueue, kept: Kept, tools: Tools, decided: Decided) -> None:
    """A decision goes to the status, the store, the metrics, the log and the Events."""
    kept.decisions = add_decision(kept.decisions, decided)
    tools.metrics.decided(jobqueue.queue, decided.reason)
    log.info(
        "scaled",
        queue=jobqueue.queue,
        before=decided.before,
        after=decided.after,
        reason=decided.reason,
        because=decided.message,
    )
    tools.announcements.decide(
        jobqueue.queue,
        QueueDecided(decided.at, decided.before, decided.after, decided.reason, decided.message),
    )
    direction = "ScaledUp" if decided.after > decided.before else "ScaledDown"
    text = f"from {decided.before} to {decided.after} replicas ({decided.reason}): {decided.message}"
    await tools.events.tell(jobqueue, "Normal", direction, text, now=decided.at)


def _lately_active(kept: Kept, now: datetime) -> bool:
    last_work = kept.memory.signals.last_work
    return last_work is not None and now - last_work < ACTIVE_FOR


def _deciding(seen: Look, kept: Kept, decision: Decision) -> State:
    if kept.states.metrics == UNKNOWN:
        return UNKNOWN
    if seen.demand.backlog.total is None:
        return State(False, kept.states.metrics.reason, decision.message)
    return State(True, "Deciding", "the size follows the backlog")


def _freshness(seen: Look, kept: Kept, tools: Tools) -> State:
    known = seen.demand.backlog.total is not None
    if not known and tools.clock() - kept.since < BULK_GOOD_FOR:  # the operator, or the queue, has only just begun
        return UNKNOWN
    queues = [kept.jobqueue.queue, *([kept.taken_from.dead_queue] if kept.taken_from else ())]
    return tools.bulk.state(queues, known=known)
