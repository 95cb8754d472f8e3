"""One turn for one JobQueue: bring about what it asks for, observe, decide, act, report.

Each step leaves a state behind (a condition), and a step that can't be done now doesn't keep the others from being done:
a broker that is away stops neither the Deployment nor the status. The JobQueue is taken once, and each step is given that
value: a spec that changes meanwhile is the next turn's, so that no status speaks of what was not applied.
"""

from leveret.scaling.gathering import wait_for_more
from leveret_operator.jobqueue import JobQueue
from leveret_operator.kept import Kept
from leveret_operator.reconcile import apply_deployment, declare_queue, stand_back
from leveret_operator.reporter import report, report_standing_back
from leveret_operator.scaler import act, look_at_consumers, observe
from leveret_operator.tools import Tools


async def take_turn(kept: Kept, tools: Tools) -> None:
    """Raise ApiGone if the API server doesn't answer; the next turn goes on from there."""
    jobqueue = kept.jobqueue
    gathering, kept.gathering = kept.gathering, None
    if jobqueue.going:
        return  # nothing new for it: what is deleted beside it would be made again
    if kept.no_queue is not None:
        await stand_back(jobqueue, kept, tools, kept.no_queue)
        await report_standing_back(jobqueue, kept, tools)
        return
    await declare_queue(jobqueue, kept, tools)
    # Before, so that no old consumer judges what only the new ones know; and after, for what could not be applied.
    _tell_present_version(jobqueue, kept, tools)
    await apply_deployment(jobqueue, kept, tools)
    _tell_present_version(jobqueue, kept, tools)
    look_at_consumers(jobqueue, kept, tools)
    seen = await observe(jobqueue, kept, tools)
    if seen is not None and (growing := wait_for_more(gathering, seen[0].observation, seen[1])):
        kept.gathering = growing
        return  # the loop looks again
    if seen is not None:
        await act(jobqueue, kept, tools, *seen)
    await report(jobqueue, kept, tools, seen[0] if seen else None)


def _tell_present_version(jobqueue: JobQueue, kept: Kept, tools: Tools) -> None:
    """That of the handlers that the consumers should run: the newest spec's, unless that could not be applied."""
    there = tools.registry.deployment_of(jobqueue) if kept.applying.until or jobqueue.problem else None
    version = there.version if there is not None and there.version else jobqueue.version
    tools.versions.present(jobqueue.queue, version, kept.memory.signals.runs.value)
