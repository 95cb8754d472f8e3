"""Bring about what a JobQueue asks for: its queue on the broker, and the Deployment of its consumers.

Both are looked at in every turn and cost nothing while they are as they should be; what was deleted or changed by hand is
made again. What fails is tried again after a pause, and a condition says why.
"""

from datetime import timedelta

import structlog

from leveret.rabbitmq.unmade import sentence
from leveret.topology import dead_queue
from leveret_operator.broker import NOT_TRIED, NotDeclared, QueueDiffers
from leveret_operator.conditions import UPDATE_WAITS, State
from leveret_operator.dead_letter_sources import NoSource, Source
from leveret_operator.deployment import build_deployment
from leveret_operator.jobqueue import Deployment, JobQueue, Json
from leveret_operator.kept import Kept
from leveret_operator.kubernetes_api import ApiRefused
from leveret_operator.queue_names import TAKEN, NoQueue
from leveret_operator.rollouts import ASKED_EVERY, AT_ONCE, is_as_applied, mark_of, ours_in
from leveret_operator.template import TemplateInvalid
from leveret_operator.tools import Tools

log = structlog.get_logger(__name__)

# RabbitMQ writes down that it has a new quorum queue up to half a second after it has answered. If it is killed before
# that, it makes the queue anew, empty, and what it had confirmed is lost. So nobody is told of a new queue before.
SETTLES = timedelta(seconds=2)
ACCESS_REFUSED = "AccessRefused"
NOT_MADE = "QueueNotMade"  # the broker can't
MISSING = State(False, "QueueMissing", "something of the queue was deleted; it is declared again")


async def declare_queue(jobqueue: JobQueue, kept: Kept, tools: Tools) -> None:
    """See to it that the queue is on the broker, once in each session and whenever it is found missing."""
    now, session = tools.clock(), say_broker(kept, tools)
    if session is None:
        return
    if kept.declared_in == session and tools.broker.misses(jobqueue.queue):
        kept.declared_in = None
        kept.say(topology=MISSING)
    if kept.declared_in != session and kept.declaring.over(now):
        try:
            new = await tools.broker.declare(jobqueue.queue)
        except QueueDiffers as problem:
            kept.declaring.longer(now)
            text = f"a queue of this name exists with other arguments: {problem}; delete it once it is empty"
            kept.say(topology=State(False, "QueueDiffers", text))
        except NotDeclared as problem:
            kept.declaring.longer(now)
            reason, text = "NotDeclared", f"the broker did not take the queue: {problem}"
            if problem.refused:
                reason, text = ACCESS_REFUSED, _let_in(str(problem), tools)
            if problem.unmade:
                reason, text = NOT_MADE, sentence(f"{jobqueue.queue} or {dead_queue(jobqueue.queue)}", str(problem))
            kept.say(topology=State(False, reason, text))
        else:
            kept.declaring.end()
            kept.declared_in = session
            kept.settled_at = tools.clock() + SETTLES if new else None
            if kept.states.topology == MISSING:
                lost = (
                    "it was gone, and what was in it"
                    if new
                    else "its dead letters' queue, or what it is bound to, was gone"
                )
                await tools.events.tell(
                    jobqueue, "Warning", MISSING.reason, f"{jobqueue.queue}: {lost}; declared again", now=now
                )
    if kept.declared_in == session:
        kept.say(topology=_declared(jobqueue, kept, tools))
        if jobqueue.problem is None and (kept.settled_at is None or tools.clock() >= kept.settled_at):
            tools.announcements.define(jobqueue, kept.taken_from, tools.clock())


def say_broker(kept: Kept, tools: Tools) -> int | None:
    """Say how the broker is, if that is known; return the session, None while there is none."""
    session = tools.broker.session
    if session is None and tools.broker.problem == NOT_TRIED:
        return None
    if session is None:
        away = f"the broker does not answer ({tools.broker.problem}); everything goes on when it does"
        reason = "NotConnected"
        if tools.broker.unfit:
            away, reason = tools.broker.problem, tools.broker.unfit
        elif tools.broker.refused:
            away, reason = _let_in(tools.broker.problem, tools), ACCESS_REFUSED
        kept.declared_in = None
        kept.say(broker=State(False, reason, away), topology=State(None, "BrokerNotConnected", away))
    elif tools.broker.silent:
        text = "the broker is connected and has not answered for 10 s or longer; everything goes on when it does"
        kept.say(broker=State(False, "NotAnswering", text))
    else:
        kept.say(broker=State(True, "Connected", "the broker is connected"))
    return session


def _let_in(problem: str, tools: Tools) -> str:
    return (
        f"the broker refuses the operator ({problem}); put the user, the password and the virtual host in the Secret "
        f"{tools.around.broker_secret} right, or let an administrator of the broker give that user the rights to configure, write "
        "and read there; nothing is lost, and the Secret is read anew at each try, within seconds"
    )


def _declared(jobqueue: JobQueue, kept: Kept, tools: Tools) -> State:
    """What is declared, with a word about what can't be and that its jobs run without: the condition is about its own queue."""
    queue = jobqueue.queue
    text = f"{queue} and {dead_queue(queue)} are declared"
    if tools.broker.unmade:
        return State(True, NOT_MADE, "; ".join((text, *tools.broker.unmade.values())), wrong=True)
    if isinstance(kept.source, NoSource):
        return State(True, kept.source.reason, f"{text}; {kept.source.message}")
    if isinstance(kept.source, Source):
        text = f"{text}; the consumers take from {kept.source.dead_queue}, too"
    return State(True, "Declared", text)


async def stand_back(jobqueue: JobQueue, kept: Kept, tools: Tools, because: NoQueue) -> None:
    """Do nothing for a JobQueue without a queue, but keep its consumers, if there are any, from another's jobs.

    There are some where the one that claimed the queue first was seen later: two that were made in the same second.
    """
    now, there = tools.clock(), tools.registry.deployment_of(jobqueue)
    say_broker(kept, tools)
    kept.declared_in, kept.applied, kept.desired = None, None, None
    no = State(False, because.reason, because.message)
    unknown = State(None, because.reason, because.message)
    kept.say(topology=no, deployment=no, consumers=unknown, scaling=no, metrics=unknown)
    if because.reason != TAKEN or there is None or there.wanted == 0 or not kept.scaling.over(now):
        return
    again = kept.size == 0  # they were stopped, and somebody has started them
    if again and not kept.contests.replicas.may_correct(there.scaled_by, now):
        return
    try:
        revision = await tools.api.scale(there.name, 0, owned=True)
    except ApiRefused as problem:
        kept.scaling.longer(now)
        log.warning("consumers of another's queue could not be stopped", deployment=there.name, problem=str(problem))
    else:
        kept.scaling.end()
        kept.size = 0
        if again:
            kept.contests.replicas.corrected(now)
        tools.registry.scaled(jobqueue.name, 0, revision)
        log.warning(
            "consumers stopped: the queue is another JobQueue's", deployment=there.name, because=because.message
        )


async def apply_deployment(jobqueue: JobQueue, kept: Kept, tools: Tools) -> None:
    """See to it that the Deployment is as the JobQueue says; repair what was changed or deleted by hand."""
    now, there = tools.clock(), tools.registry.deployment_of(jobqueue)
    if jobqueue.problem is not None:
        kept.tried, kept.applied = None, None
        kept.say(deployment=State(False, "SpecInvalid", f"{jobqueue.problem}; {_what_stays(there)}"))
        return
    wanted = (jobqueue, kept.taken_from)
    again = kept.applied == wanted
    if again and there is not None and there.fingerprint == kept.fingerprint:
        kept.say(deployment=_applied(jobqueue))
        return
    if kept.tried != wanted:
        kept.tried = wanted
        kept.applying.end()
    elif not kept.applying.over(now) and (there is not None or kept.fingerprint is None):
        return
    try:
        manifest = build_deployment(jobqueue, tools.around, kept.taken_from)
    except TemplateInvalid as problem:
        kept.applying.longer(now)
        kept.say(deployment=State(False, "TemplateInvalid", f"{problem}; {_what_stays(there)}"))
        return
    if again and there is not None and ours_in(there, manifest) == kept.ours:
        _take_over(jobqueue, kept, there, manifest)
        return
    contest = kept.contests.template if there else kept.contests.deployment
    if again and (not contest.may_correct(there.changed_by if there else None, now) or kept.contests.too_soon(now)):
        if there is None:
            kept.say(deployment=State(False, contest.reason, f"{contest.manager} {contest.text}"))
        return
    if there is None:
        kept.fingerprint = None  # it is made at once, and after pauses if that is refused
    try:
        if kept.applied is None and there is not None and not _is_due(jobqueue, kept, tools, there, manifest):
            return
        made = await tools.api.apply_deployment(manifest, jobqueue.deployment)
    except ApiRefused as problem:
        kept.applying.longer(now)
        tools.rollouts.end(jobqueue.name)
        kept.say(deployment=State(False, "DeploymentRefused", f"the API server refused the Deployment: {problem}"))
    else:
        if again and there is not None and there.fingerprint == made.fingerprint:
            kept.applying.longer(now)  # it can't be put right, and may come again and again
        else:
            kept.applying.end()
            kept.contests.wrote_at = now
            if again:
                contest.corrected(now)
        if there is None:
            kept.size = None
        tools.registry.deployment_is(made)
        _take_over(jobqueue, kept, made, manifest)
        log.info("Deployment applied", queue=jobqueue.queue, deployment=jobqueue.deployment)


def _is_due(jobqueue: JobQueue, kept: Kept, tools: Tools, there: Deployment, manifest: Json) -> bool:
    """Whether a Deployment that was there when this operator started is changed now; say how it is where it isn't."""
    now = tools.clock()
    if is_as_applied(there, manifest):
        if not there.rolled_out:
            tools.rollouts.goes_on(jobqueue.name, now)
        kept.applying.end()
        _take_over(jobqueue, kept, there, manifest)
        return False
    authors = jobqueue.generation != kept.recorded_generation
    if authors or there.mark == mark_of(manifest):  # else it was changed by hand
        return True
    if tools.rollouts.begin(jobqueue.name, tools.registry.deployments, now):
        return True
    kept.applying.until = now + ASKED_EVERY
    text = (
        f"Deployment {there.name} is as an earlier Leveret made it, works on, and is updated in its turn: {AT_ONCE} others are being "
        "updated now"
    )
    kept.say(deployment=State(True, UPDATE_WAITS, text))
    return False


def _take_over(jobqueue: JobQueue, kept: Kept, there: Deployment, manifest: Json) -> None:
    """The Deployment is as it should be; what somebody added is theirs."""
    kept.applied, kept.fingerprint = (jobqueue, kept.taken_from), there.fingerprint
    kept.ours = ours_in(there, manifest)
    kept.say(deployment=_applied(jobqueue))


def _applied(jobqueue: JobQueue) -> State:
    return State(True, "Applied", f"Deployment {jobqueue.deployment} is applied")


def _what_stays(there: Deployment | None) -> str:
    return "no Deployment is made until it is mended" if there is None else "the last good Deployment stays"
