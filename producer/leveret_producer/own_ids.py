"""The ids that a request brings for its jobs, each of which makes its job one that is stored once. The clock is an argument."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from leveret.jobs import made_at
from leveret_producer.problems import Flaw
from leveret_producer.submission import Submission, invalid

AHEAD = timedelta(hours=1)  # clocks differ; and by an id's time its row is kept


def own_ids(asked: Sequence[Submission], now: datetime, *, in_list: bool) -> list[UUID]:
    """Return the ids that jobs have of their own, in order; raise Refused for what is none, or is there twice."""
    if len(asked) == 1 and asked[0].id is None:
        return []
    found: dict[UUID, int] = {}
    for index, job in enumerate(asked):
        if job.id is None:
            continue
        pointer = f"/{index}/id" if in_list else "/id"
        if (made := made_at(job.id)) is None:
            raise invalid([Flaw(pointer, "is no UUIDv7")])
        if made - now > AHEAD:
            raise invalid([Flaw(pointer, f"is of {made.isoformat()}, more than an hour ahead of the clock here")])
        if found.setdefault(job.id, index) != index:
            raise invalid([Flaw(pointer, f"is that of the job at /{found[job.id]}, too; each job has its own")])
    return list(found)


def of_others(asked: Sequence[Submission], queues: dict[UUID, str], *, in_list: bool) -> list[Flaw]:
    """Say which jobs have ids that are those of other queues' jobs."""
    return [
        Flaw(f"/{index}/id" if in_list else "/id", f"is that of a job of the queue {queues[job.id]}")
        for index, job in enumerate(asked)
        if job.id in queues
    ]
