"""Bring about what a JobQueue asks for: its queue on the broker, and the Deployment of its consumers.

Both are looked at in every turn and cost nothing while they are as they should be; what was deleted or changed by hand is
made again. What fails is tried again after a pause, and a condition says why.
"""

import structlog

from leveret.topology import dead_queue
from leveret_operator.broker import NotDeclared, QueueDiffers
from leveret_operator.conditions import State
from leveret_operator.deployment import build_deployment
from leveret_operator.kept import Kept
from leveret_operator.kubernetes_api import ApiRefused
from leveret_operator.template import TemplateInvalid
from leveret_operator.tools import Tools

log = structlog.get_logger(__name__)


async def declare_queue(kept: Kept, tools: Tools) -> None:
    """See to it that the queue is on the broker, once in each session and whenever it is found missing."""
    now, session = tools.clock(), tools.broker.session
    if session is None:
        away = f"the broker does not answer ({tools.broker.problem}); everything goes on when it does"
        kept.declared_in = None
        kept.say(broker=State(False, "NotConnected", away), topology=State(None, "BrokerNotConnected", away))
        return
    if tools.broker.silent:
        text = "the broker is connected and has not answered for 10 s or longer; everything goes on when it does"
        kept.say(broker=State(False, "NotAnswering", text))
    else:
        kept.say(broker=State(True, "Connected", "the broker is connected"))
    if kept.declared_in != session and kept.declaring.over(now):
        try:
            await tools.broker.declare(kept.jobqueue.queue)
        except QueueDiffers as problem:
            kept.declaring.longer(now)
            text = f"a queue of this name exists with other arguments: {problem}; delete it once it is empty"
            kept.say(topology=State(False, "QueueDiffers", text))
        except NotDeclared as problem:
            kept.declaring.longer(now)
            kept.say(topology=State(False, "NotDeclared", f"the broker did not take the queue: {problem}"))
        else:
            kept.declaring.end()
            kept.declared_in = session
            queue = kept.jobqueue.queue
            kept.say(topology=State(True, "Declared", f"{queue} and {dead_queue(queue)} are declared"))
    if kept.declared_in == session:
        tools.announcements.define(kept.jobqueue, tools.clock())


async def apply_deployment(kept: Kept, tools: Tools) -> None:
    """See to it that the Deployment is as the JobQueue says; repair what was changed or deleted by hand."""
    jobqueue, now = kept.jobqueue, tools.clock()
    if refused := tools.registry.refused.get(jobqueue.name):
        kept.say(deployment=State(False, "SpecInvalid", f"{refused}; the last good Deployment stays"))
        return
    there = tools.registry.deployments.get(jobqueue.name)
    if kept.applied == jobqueue and there is not None and there.fingerprint == kept.fingerprint:
        return
    if not kept.applying.over(now):
        return
    try:
        manifest = build_deployment(jobqueue, tools.around)
        made = await tools.api.apply_deployment(manifest, jobqueue.deployment)
    except TemplateInvalid as problem:
        kept.applying.longer(now)
        kept.say(deployment=State(False, "TemplateInvalid", f"{problem}; the last good Deployment stays"))
    except ApiRefused as problem:
        kept.applying.longer(now)
        kept.say(deployment=State(False, "DeploymentRefused", f"the API server refused the Deployment: {problem}"))
    else:
        kept.applying.end()
        kept.applied, kept.fingerprint = jobqueue, made.fingerprint
        tools.registry.deployment_is(made)
        kept.say(deployment=State(True, "Applied", f"Deployment {jobqueue.deployment} is applied"))
        log.info("Deployment applied", queue=jobqueue.queue, deployment=jobqueue.deployment)
