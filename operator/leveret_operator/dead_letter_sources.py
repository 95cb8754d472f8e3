"""Whose dead letters the consumers of a JobQueue take, beside their own jobs.

The JobQueue that `spec.queue.from` names may come later, go, or have no queue; then the consumers run on their own queue
alone. JobQueues that take each other's dead letters in a ring would run a job that can't succeed for ever, so none of
them takes any.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from leveret.topology import dead_queue
from leveret_operator.jobqueue import JobQueue


@dataclass(frozen=True, slots=True)
class Source:
    """The queue whose dead letters are taken."""

    queue: str

    @property
    def dead_queue(self) -> str:
        return dead_queue(self.queue)


@dataclass(frozen=True, slots=True)
class NoSource:
    """Why none are taken, though the JobQueue asks for them."""

    reason: str  # SourceMissing or SourceRing
    message: str


def source_of(jobqueue: JobQueue, having: Mapping[str, JobQueue]) -> Source | NoSource | None:
    """Return where the dead letters come from; None if none are asked for. `having`: the JobQueues with a queue, by name."""
    wanted = jobqueue.queue_spec.dead_letters_of
    if wanted is None:
        return None
    ring = _ring(jobqueue, having)
    if ring:
        return NoSource(
            "SourceRing",
            f"no dead letters are taken, because they would come back here: {' ← '.join(ring)}; take spec.queue.from out of one",
        )
    if wanted not in having:
        return NoSource(
            "SourceMissing",
            f"the dead letters of the JobQueue {wanted} are taken once it is there and has a queue; until then the consumers "
            "run on their own queue",
        )
    return Source(having[wanted].queue)


def _ring(jobqueue: JobQueue, having: Mapping[str, JobQueue]) -> list[str]:
    """Return the names from the JobQueue back to itself, if following the sources leads there."""
    path, following = [jobqueue.name], jobqueue.queue_spec.dead_letters_of
    while following is not None and following not in path[1:]:
        path.append(following)
        if following == jobqueue.name:
            return path
        following = having[following].queue_spec.dead_letters_of if following in having else None
    return []
