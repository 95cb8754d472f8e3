"""One turn for one JobQueue: bring about what it asks for, observe, decide, act, report.

Each step leaves a state behind (a condition), and a step that can't be done now doesn't keep the others from being done:
a broker that is away stops neither the Deployment nor the status.
"""

from leveret_operator.kept import Kept
from leveret_operator.reconcile import apply_deployment, declare_queue, stand_back
from leveret_operator.reporter import report, report_standing_back
from leveret_operator.scaler import act, look_at_consumers, observe
from leveret_operator.tools import Tools


async def take_turn(kept: Kept, tools: Tools) -> None:
    """Raise ApiGone if the API server doesn't answer; the next turn goes on from there."""
    if kept.no_queue is not None:
        await stand_back(kept, tools, kept.no_queue)
        await report_standing_back(kept, tools)
        return
    await declare_queue(kept, tools)
    # Before, so that no old consumer judges what only the new ones know; and after, for what could not be applied.
    _tell_present_version(kept, tools)
    await apply_deployment(kept, tools)
    _tell_present_version(kept, tools)
    look_at_consumers(kept, tools)
    seen = await observe(kept, tools)
    if seen is not None:
        await act(kept, tools, *seen)
    await report(kept, tools, seen[0] if seen else None)


def _tell_present_version(kept: Kept, tools: Tools) -> None:
    """That of the handlers that the consumers should run: the newest spec's, unless that could not be applied."""
    there = tools.registry.deployment_of(kept.jobqueue) if kept.applying.until else None
    version = there.version if there is not None and there.version else kept.jobqueue.version
    tools.versions.present(kept.jobqueue.queue, version, kept.memory.signals.runs.value)
