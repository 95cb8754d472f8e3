"""Write what the events say: a batch in one transaction, the larger report winning each row.

Rows are locked in the order of their ids before they are written, so that replicas which record the same jobs wait for
each other in a line; so are the rows of the queues that something is told of. An id belongs to the queue that used it
first; what another queue says about it is handed back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from leveret.events import (
    HandlersRegistered,
    JobQueuesListed,
    QueueDecided,
    QueueDefined,
    QueueEvent,
    QueueObserved,
    QueueRemoved,
)
from leveret.jobs import FINAL, State
from leveret_producer.recorder import merge, messages
from leveret_producer.recorder.merge import AttemptId, AttemptRow, JobRow, Report
from leveret_producer.recorder.told import Told, ordered
from leveret_producer.slices import Slices
from leveret_producer.store import cancels
from leveret_producer.store import recording_sql as sql
from leveret_producer.store.postgres import Postgres


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a batch changed; reports that were known already change nothing."""

    finished: tuple[JobRow, ...] = ()  # jobs that reached their final state
    attempts: frozenset[AttemptId] = frozenset()
    misplaced: frozenset[UUID] = field(default_factory=frozenset)  # ids that belong to another queue: not recorded
    without_payload: tuple[Report, ...] = ()  # ask for a message whose payload nobody knows: not recorded
    dead: frozenset[tuple[UUID, int]] = frozenset()  # of the reported jobs with their generations, what is dead now


class Recording:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._slices = Slices()

    async def record(self, reports: Sequence[Report], told: Sequence[Told] = ()) -> Recorded:
        """Commit a batch, in which each job's reports are for one queue.

        Raises DatabaseUnavailable, TryAgain or DataRefused, and then nothing of it is stored.
        """
        async with self._postgres.transaction(timeout=15) as connection:
            if told:
                await _tell_all(connection, [(merge.clean(name, merge.LONGEST_TYPE), event) for name, event in told])
            lost = await _without_payload(connection, reports)
            without = {id(report) for report in lost}
            kept = [report for report in reports if id(report) not in without] if lost else reports
            recorded = await _record(connection, kept, self._slices) if kept else Recorded()
            return replace(recorded, without_payload=tuple(lost))


async def _without_payload(connection: AsyncConnection, reports: Sequence[Report]) -> list[Report]:
    asking = [report for report in reports if messages.needs_message(report.event)]
    if not asking:
        return []
    have = {row.id for row in await connection.execute(sql.HAVE_PAYLOAD, {"ids": [one.event.id for one in asking]})}
    have |= {row.id for row in messages.messages(reports)}
    return [report for report in asking if report.event.id not in have]


async def _record(connection: AsyncConnection, reports: Sequence[Report], slices: Slices) -> Recorded:
    rows = await slices.run(merge.merging_jobs(reports))
    known = await connection.execute(sql.LOCK, {"ids": [row.id for row in rows]})
    before = {row.id: (row.queue, row.state, row.generation) for row in known}
    misplaced = {row.id for row in rows if row.id in before and before[row.id][0] != row.queue}
    if misplaced:
        freed = {row.id for row in await connection.execute(sql.FREE, {"ids": sorted(misplaced)})}
        misplaced -= freed
        before = {job: known for job, known in before.items() if job not in freed}
    rows = [row for row in rows if row.id not in misplaced]
    if not rows:
        return Recorded(misplaced=frozenset(misplaced))
    written = list(await connection.execute(sql.JOBS, sql.columns(rows)))
    changed = {row.id for row in written}
    # A job of which nothing was known, and that another replica recorded for another queue just now.
    here = {row.id: row.queue for row in rows}
    if unseen := [row.id for row in rows if row.id not in before and row.id not in changed]:
        owners = await connection.execute(sql.LOCK, {"ids": unseen})
        before |= {row.id: (row.queue, row.state, row.generation) for row in owners}
        misplaced |= {one for one in unseen if one in before and before[one][0] != here[one]}
    kept = [report for report in reports if report.event.id not in misplaced]
    if undated := [report.event for report in kept if report.event.submitted_at is None]:
        first = {event.id: merge.first_seen(event) for event in sorted(undated, key=merge.first_seen, reverse=True)}
        ordered = sorted(first)
        await connection.execute(sql.FIRST_SEEN, {"ids": ordered, "seen": [first[one] for one in ordered]})
    if to_keep := messages.messages(kept):
        await connection.execute(sql.KEEP_MESSAGES, sql.columns(to_keep))
    new_attempts = await _record_attempts(connection, await slices.run(merge.merging_attempts(kept)))
    finished = [row for row in rows if row.id in changed and row.state in FINAL and not _was_final(before, row)]
    to_cancel = {row.id for row in written if row.cancel_requested_at}
    finished += await _cancel(connection, [row for row in rows if row.id in to_cancel])
    now = {row.id: (row.state, row.generation) for row in rows if row.id in changed}
    stands = {row.id: now.get(row.id) or before[row.id][1:] for row in rows if row.id in changed or row.id in before}
    dead = {(one, generation) for one, (state, generation) in stands.items() if state == State.DEAD}
    return Recorded(tuple(finished), new_attempts, frozenset(misplaced), dead=frozenset(dead))


async def _cancel(connection: AsyncConnection, rows: Sequence[JobRow]) -> list[JobRow]:
    """See to jobs that are to be cancelled: forget it of those that have ended, and make an end of those that wait here.

    One that runs is named, where only a rule stood for it.
    """
    await cancels.ended(connection, [(row.id, row.generation) for row in rows if row.state in FINAL])
    again = {row.id: row for row in rows if row.due_at is not None or row.state == State.RUNNING}
    noted = await cancels.cancel(connection, [(row.id, row.generation) for row in again.values()])
    return [replace(again[job], state=State.CANCELLED) for job in noted.ended_jobs]


def _was_final(before: dict[UUID, tuple[str, str, int]], row: JobRow) -> bool:
    _, state, generation = before.get(row.id, ("", "", 0))
    return state in FINAL and generation == row.generation


async def _record_attempts(connection: AsyncConnection, rows: Sequence[AttemptRow]) -> frozenset[AttemptId]:
    if not rows:
        return frozenset()
    changed = await connection.execute(sql.ATTEMPTS, sql.columns(rows))
    return frozenset((row.job_id, row.generation, row.attempt, row.delivery) for row in changed)


async def _tell_all(connection: AsyncConnection, told: Sequence[Told]) -> None:
    """Write what was told, after all rows that it may change were made and locked in the order of their names."""
    events = ordered(told)
    names = [name for name, event in events if isinstance(event, QueueDefined | QueueRemoved | QueueObserved)]
    namespaces = [name for name, event in events if isinstance(event, JobQueuesListed)]
    await connection.execute(sql.MAKE_QUEUES, {"names": sorted(set(names))})
    rows = await connection.execute(sql.LOCK_QUEUES, {"names": names, "namespaces": namespaces})
    locked = [row.name for row in rows]
    for name, event in events:
        await _tell(connection, name, event, locked)


async def _tell(
    connection: AsyncConnection,
    queue: str,
    event: HandlersRegistered | JobQueuesListed | QueueEvent,
    locked: Sequence[str],
) -> None:
    match event:
        case HandlersRegistered(version, types, again):
            values = {"queue": queue, "version": _name(version), "types": sql.encode(types), "again": again}
            await connection.execute(sql.HANDLERS, values)
        case QueueDefined():
            of = None if event.dead_letters_of is None else _name(event.dead_letters_of)
            await connection.execute(
                sql.DEFINED,
                {
                    "name": queue,
                    "namespace": _name(event.namespace),
                    "jobqueue": _name(event.jobqueue),
                    "version": _name(event.version),
                    "max_attempts": event.max_attempts,
                    "timeout_seconds": event.timeout_seconds,
                    "max_length": event.max_length,
                    "dead_letters_of": of,
                    "at": event.at,
                },
            )
        case JobQueuesListed(at, queues):
            there = {"jobqueues": list(queues), "queues": list(queues.values())}
            await connection.execute(sql.LISTED, {"namespace": queue, "at": at, "locked": locked, **there})
        case QueueRemoved(at):
            await connection.execute(sql.REMOVED, {"name": queue, "at": at})
        case QueueObserved():
            await connection.execute(sql.OBSERVED, {"name": queue, "seen": sql.encode(event), "at": event.at})
        case QueueDecided(at, before, after, reason, message):
            why = {"reason": merge.clean(reason, 255), "message": merge.clean(message, merge.LONGEST_MESSAGE)}
            await connection.execute(sql.DECIDED, {"queue": queue, "at": at, "before": before, "after": after, **why})


def _name(text: str) -> str:
    return merge.clean(text, merge.LONGEST_NAME)
