"""Put jobs back into the outbox that the broker had no queue for, though a JobQueue has it.

Somebody deleted the queue, and the operator declares it again within a tick or two. The broker had confirmed such a
message, so its job counts as queued; and since that confirm may be written down only after the job is put back, each
return is counted, and a confirm holds only for the count that it was published with.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import text

from leveret.jobs import Envelope, State, merge_key
from leveret_producer.recorder import merge, messages
from leveret_producer.store.outbox import live
from leveret_producer.store.postgres import Postgres
from leveret_producer.store.recording_sql import KEEP_MESSAGES, LOCK, columns

AFTER = 5.0  # s until it's published again: by then the queue may be there

# What has a larger key is beyond this attempt: another message of it has arrived. (So the key is that of the attempt, the
# first as well: it may have been given back, which `queued_key` is before.) What a row of an earlier generation says of
# that generation's end does not hold for this one. It waits since it was due: a retry, and what was redriven, not since
# it was submitted.
_PUT_BACK = text(
    """
    INSERT INTO jobs AS job (id, queue, type, state, merge_key, generation, attempt, max_attempts, created_at,
        correlation_id, over_amqp, lease_until, next_attempt, returned, deadline)
    SELECT id, queue, type, 'queued', merge_key, generation, attempt - 1,
        (SELECT max_attempts FROM queues WHERE queues.name = new.queue), coalesce(created_at, now()), correlation_id,
        true, now() + CAST(:after AS double precision) * interval '1 second', attempt, 1, deadline
    FROM unnest(CAST(:ids AS uuid[]), CAST(:queues AS text[]), CAST(:types AS text[]), CAST(:keys AS bigint[]),
                CAST(:generations AS integer[]), CAST(:attempts AS integer[]), CAST(:created_at AS timestamptz[]),
                CAST(:correlation_ids AS text[]), CAST(:deadlines AS timestamptz[]))
         AS new (id, queue, type, merge_key, generation, attempt, created_at, correlation_id, deadline)
    ORDER BY id
    ON CONFLICT (id) DO UPDATE SET
        state = CASE WHEN job.merge_key < excluded.merge_key THEN excluded.state ELSE job.state END,
        merge_key = excluded.merge_key, tie = 0, generation = excluded.generation, next_attempt = excluded.next_attempt,
        attempt = CASE WHEN job.generation = excluded.generation THEN job.attempt ELSE excluded.attempt END,
        error = CASE WHEN job.generation = excluded.generation THEN job.error END,
        deadline = coalesce(excluded.deadline, CASE WHEN job.generation = excluded.generation THEN job.deadline END),
        due_at = CASE WHEN job.generation = excluded.generation AND job.due_at <= now() THEN job.due_at END,
        result = NULL, finished_at = NULL, dead_reason = NULL, purged_at = NULL,
        type = CASE WHEN job.type = '' THEN excluded.type ELSE job.type END,
        cancel_requested_at = CASE WHEN job.generation = excluded.generation THEN job.cancel_requested_at END,
        published_at = NULL, lease_until = excluded.lease_until, returned = job.returned + 1
    WHERE job.queue = excluded.queue AND job.merge_key <= excluded.merge_key
    """
)
_LARGEST_INTEGER = (1 << 31) - 1


class Returning:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def live(self, names: Collection[str]) -> set[str]:
        """Return which of these queues a JobQueue has."""
        async with self._postgres.transaction() as connection:
            return await live(connection, names)

    async def put_back(self, jobs: Sequence[Envelope]) -> list[Envelope]:
        """Commit jobs to be published again, and return those whose ids belong to another queue: they are not stored.

        Nothing is done for a job that has gone on meanwhile. Raises what Recording.record raises.
        """
        newest = {job.id: job for job in sorted(jobs, key=lambda job: (job.generation, job.attempt))}
        rows = [newest[one] for one in sorted(newest)]
        async with self._postgres.transaction(timeout=15) as connection:
            await connection.execute(
                _PUT_BACK,
                {
                    "ids": [job.id for job in rows],
                    "queues": [job.queue for job in rows],
                    "types": [merge.clean(job.type, merge.LONGEST_TYPE) for job in rows],
                    "keys": [merge_key(State.QUEUED, job.generation, job.attempt) for job in rows],
                    "generations": [min(job.generation, _LARGEST_INTEGER) for job in rows],
                    "attempts": [min(job.attempt, _LARGEST_INTEGER) for job in rows],
                    "created_at": [job.submitted_at for job in rows],
                    "correlation_ids": [_cleaned(job.correlation_id) for job in rows],
                    "deadlines": [job.deadline for job in rows],
                    "after": AFTER,
                },
            )
            owners = {row.id: row.queue for row in await connection.execute(LOCK, {"ids": [job.id for job in rows]})}
            ours = [job for job in rows if owners.get(job.id) == job.queue]
            if to_keep := [messages.message_row(job.id, job.body, job) for job in ours]:
                await connection.execute(KEEP_MESSAGES, columns(to_keep))
        return [job for job in jobs if owners.get(job.id) != job.queue]


def _cleaned(value: str | None) -> str | None:
    return None if value is None else merge.clean(value, merge.LONGEST_TYPE)
