"""The statements of the recorder: each writes any number of rows.

Rows are joined to others by their ids, and the ids are named once more as one array: from that the planner knows which
days' partitions they can be in. Of a join alone it can't, and at the planner's own defaults it then reads all the days.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import msgspec
from sqlalchemy import text

from leveret.retry import LONGEST_DELAY
from leveret_producer.recorder.merge import AttemptRow, JobRow
from leveret_producer.recorder.messages import MessageRow


def encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def columns(rows: Sequence[JobRow] | Sequence[AttemptRow] | Sequence[MessageRow]) -> dict[str, list[Any]]:
    """Turn rows into one array a column, as unnest() takes them (asdict would copy every value: most of the time)."""
    return {column.name: [getattr(row, column.name) for row in rows] for column in fields(rows[0])}


def _within(told: str, latest: str) -> str:
    """What the clock of somebody else says, no later than that; and not so early that the driver takes it for no time.

    least() and greatest() pass over what is NULL.
    """
    return f"CASE WHEN {told} IS NOT NULL THEN greatest(least({told}, {latest}), timestamptz 'epoch') END"


_LATEST = "now() + interval '1 minute'"  # clocks differ a bit
_AT = _within("CAST(:at AS timestamptz)", "now()")
_NEVER = "timestamptz '9999-12-31'"  # later ones, the driver takes for no time either
# A consumer says by its clock when the next attempt is due, and ours publishes it. So its wait counts from now, by our clock:
# never too short. But a report that comes late, after an outage, is not about a wait that begins now: of a lag of more than
# half a second clocks are not to blame. What is due in the past is due now, where the looks for what is due find it.
_DUE = f"""CASE WHEN due_at IS NOT NULL THEN greatest(now(), least(
    least(now(), told_at + interval '500 ms') + (due_at - told_at), now() + interval '{LONGEST_DELAY.days} days')) END"""

# A row that is there only since a cancel was asked for: nothing was known of the job.
_UNSEEN = "job.type = '' AND job.state = 'queued'"

LOCK = text(
    """
    SELECT id, queue, state, generation FROM jobs WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE
    """
)

# Nothing is known of these jobs but a cancel that named a queue, and that was the wrong one.
FREE = text(
    f"""
    WITH freed AS (
        DELETE FROM jobs AS job WHERE id = ANY(CAST(:ids AS uuid[])) AND {_UNSEEN} AND generation = 1
            AND attempt = 0 AND cancel_requested_at IS NOT NULL
        RETURNING id
    ), void AS (
        DELETE FROM cancels USING freed WHERE cancels.id = freed.id
    )
    SELECT id FROM freed
    """  # noqa: S608 - a constant
)

# What the store accepted itself keeps its time and, where the events don't know better, its attempts. Whatever a report
# is about has reached the broker, whether or not its confirm was seen; so nothing of it waits in the outbox, unless the
# report itself says that its message is gone and that the next attempt is due at a time. A report of something later
# makes that void: there is a message again. A consumer's clock may be ahead: what is shown is no later than ours.
# A purge holds within its generation. What was never a dead letter has the time of its end there, and another end may win.
JOBS = text(
    f"""
    WITH stored AS MATERIALIZED (
        SELECT id, max_attempts FROM jobs WHERE id = ANY(CAST(:id AS uuid[]))
    )
    INSERT INTO jobs AS job (id, queue, type, state, merge_key, tie, generation, attempt, max_attempts, created_at,
        started_at, finished_at, result, error, progress, correlation_id, dead_reason, over_amqp, published_at, due_at,
        lease_until, next_attempt, deadline, purged_at)
    SELECT new.id, queue, type, state, merge_key, tie, generation, attempt,
        coalesce(new.max_attempts, stored.max_attempts,
                 (SELECT queues.max_attempts FROM queues WHERE queues.name = new.queue)),
        {_within("created_at", _LATEST)}, {_within("started_at", _LATEST)}, {_within("finished_at", _LATEST)},
        result, error, progress, correlation_id, dead_reason, true,
        CASE WHEN due.at IS NULL THEN now() END, due.at, coalesce(due.at, now()),
        CASE WHEN due.at IS NULL THEN 1 ELSE least(attempt, 2147483646) + 1 END,
        {_within("deadline", _NEVER)}, {_within("purged_at", _LATEST)}
    FROM unnest(
        CAST(:id AS uuid[]), CAST(:queue AS text[]), CAST(:type AS text[]), CAST(:state AS text[]),
        CAST(:merge_key AS bigint[]), CAST(:tie AS bigint[]), CAST(:generation AS integer[]),
        CAST(:attempt AS integer[]), CAST(:max_attempts AS integer[]), CAST(:created_at AS timestamptz[]),
        CAST(:started_at AS timestamptz[]), CAST(:finished_at AS timestamptz[]), CAST(:result AS text[]),
        CAST(:error AS text[]), CAST(:progress AS text[]), CAST(:correlation_id AS text[]),
        CAST(:due_at AS timestamptz[]), CAST(:dead_reason AS text[]), CAST(:deadline AS timestamptz[]),
        CAST(:purged_at AS timestamptz[]), CAST(:told_at AS timestamptz[])
    ) AS new (id, queue, type, state, merge_key, tie, generation, attempt, max_attempts, created_at, started_at,
        finished_at, result, error, progress, correlation_id, due_at, dead_reason, deadline, purged_at, told_at)
    LEFT JOIN stored ON stored.id = new.id,
    LATERAL (SELECT {_DUE}) AS due (at)
    ORDER BY new.id
    ON CONFLICT (id) DO UPDATE SET
        state = excluded.state, merge_key = excluded.merge_key, tie = excluded.tie,
        generation = excluded.generation, attempt = excluded.attempt,
        max_attempts = excluded.max_attempts, started_at = excluded.started_at,
        finished_at = excluded.finished_at, result = excluded.result,
        error = excluded.error, progress = excluded.progress, dead_reason = excluded.dead_reason,
        purged_at = coalesce(excluded.purged_at, CASE WHEN job.generation = excluded.generation
            AND job.purged_at <> job.finished_at THEN job.purged_at END),
        deadline = coalesce(excluded.deadline, CASE WHEN job.generation = excluded.generation THEN job.deadline END),
        published_at = CASE WHEN excluded.due_at IS NULL THEN coalesce(job.published_at, now()) END,
        due_at = excluded.due_at, lease_until = excluded.lease_until, next_attempt = excluded.next_attempt,
        cancel_requested_at = CASE WHEN job.generation = excluded.generation THEN job.cancel_requested_at END,
        type = CASE WHEN {_UNSEEN} THEN excluded.type ELSE job.type END,
        created_at = CASE WHEN {_UNSEEN} THEN excluded.created_at ELSE job.created_at END,
        correlation_id = CASE WHEN {_UNSEEN} THEN excluded.correlation_id ELSE job.correlation_id END
    WHERE job.queue = excluded.queue AND (job.merge_key, job.tie) < (excluded.merge_key, excluded.tie)
    RETURNING id, cancel_requested_at
    """  # noqa: S608 - constants
)

# Of those ids, whose payloads the store has.
HAVE_PAYLOAD = text("SELECT id FROM payloads WHERE id = ANY(CAST(:ids AS uuid[]))")
KEEP_MESSAGES = text(
    """
    INSERT INTO payloads (id, body, raw, reply_to, priority, traceparent, headers)
    SELECT * FROM unnest(CAST(:id AS uuid[]), CAST(:body AS text[]), CAST(:raw AS bytea[]), CAST(:reply_to AS text[]),
                         CAST(:priority AS smallint[]), CAST(:traceparent AS text[]), CAST(:headers AS text[]))
    ON CONFLICT (id) DO NOTHING
    """
)

# A foreign job whose message carries no time was created, as far as we know, when it was first reported on.
FIRST_SEEN = text(
    """
    UPDATE jobs SET created_at = greatest(new.seen, timestamptz 'epoch')
    FROM unnest(CAST(:ids AS uuid[]), CAST(:seen AS timestamptz[])) AS new (id, seen)
    WHERE jobs.id = new.id AND jobs.id = ANY(CAST(:ids AS uuid[])) AND jobs.over_amqp
        AND jobs.created_at > greatest(new.seen, timestamptz 'epoch')
    """
)

ATTEMPTS = text(
    f"""
    INSERT INTO attempts AS old (job_id, generation, attempt, delivery, merge_key, consumer, started_at, finished_at,
        outcome, error)
    SELECT job_id, generation, attempt, delivery, merge_key, consumer, {_within("started_at", _LATEST)},
        {_within("finished_at", _LATEST)}, outcome, error
    FROM unnest(
        CAST(:job_id AS uuid[]), CAST(:generation AS integer[]), CAST(:attempt AS integer[]),
        CAST(:delivery AS integer[]), CAST(:merge_key AS bigint[]), CAST(:consumer AS text[]),
        CAST(:started_at AS timestamptz[]), CAST(:finished_at AS timestamptz[]), CAST(:outcome AS text[]),
        CAST(:error AS text[])
    ) AS new (job_id, generation, attempt, delivery, merge_key, consumer, started_at, finished_at, outcome, error)
    ON CONFLICT (job_id, generation, attempt, delivery) DO UPDATE SET
        merge_key = excluded.merge_key, consumer = excluded.consumer, started_at = excluded.started_at,
        finished_at = excluded.finished_at, outcome = excluded.outcome, error = excluded.error
    WHERE old.merge_key < excluded.merge_key
    RETURNING job_id, generation, attempt, delivery
    """  # noqa: S608 - a constant
)

# Who writes several queues' rows makes and locks them in the order of their names, and only then changes them.
MAKE_QUEUES = text(
    """
    INSERT INTO queues (name) SELECT unnest(CAST(:names AS text[])) ON CONFLICT DO NOTHING
    """
)
LOCK_QUEUES = text(
    """
    SELECT name FROM queues WHERE name = ANY(CAST(:names AS text[])) OR namespace = ANY(CAST(:namespaces AS text[]))
    ORDER BY name FOR UPDATE
    """
)

# Of two images under one tag, and so under one version, the one counts whose consumer started last.
HANDLERS = text(
    """
    INSERT INTO handlers (queue, version, types) VALUES (:queue, :version, :types)
    ON CONFLICT (queue, version) DO UPDATE SET types = excluded.types, registered_at = now() WHERE NOT :again
    """
)
# A time that an operator whose clock is ahead wrote would win over the right ones: none is later than the database's, and
# one that is, because a version before wrote it, doesn't count.
DEFINED = text(
    f"""
    INSERT INTO queues AS old (name, namespace, jobqueue, version, max_attempts, timeout_seconds, max_length,
        dead_letters_of, defined_at)
    VALUES (:name, :namespace, :jobqueue, :version, :max_attempts, :timeout_seconds, :max_length, :dead_letters_of,
        {_AT})
    ON CONFLICT (name) DO UPDATE SET namespace = excluded.namespace, jobqueue = excluded.jobqueue,
        version = excluded.version, max_attempts = excluded.max_attempts,
        timeout_seconds = excluded.timeout_seconds, max_length = excluded.max_length,
        dead_letters_of = excluded.dead_letters_of, defined_at = excluded.defined_at
    WHERE old.defined_at IS NULL OR old.defined_at < excluded.defined_at OR old.defined_at > now()
    """  # noqa: S608 - a constant
)
REMOVED = text(
    f"""
    INSERT INTO queues AS old (name, removed_at) VALUES (:name, {_AT})
    ON CONFLICT (name) DO UPDATE SET removed_at =
        CASE WHEN old.removed_at < now() THEN greatest(old.removed_at, excluded.removed_at) ELSE excluded.removed_at END
    """  # noqa: S608 - a constant
)
# What a list of all JobQueues does not hold was deleted while no operator ran. One whose queue isn't told keeps what it has.
LISTED = text(
    f"""
    UPDATE queues SET removed_at = {_AT}
    WHERE name = ANY(CAST(:locked AS text[])) AND namespace = :namespace
        AND defined_at < {_AT} AND (removed_at IS NULL OR removed_at < defined_at)
        AND NOT EXISTS (
            SELECT FROM unnest(CAST(:jobqueues AS text[]), CAST(:queues AS text[])) AS there (jobqueue, queue)
            WHERE there.jobqueue = queues.jobqueue AND coalesce(there.queue, queues.name) = queues.name
        )
    """  # noqa: S608 - a constant
)
OBSERVED = text(
    f"""
    INSERT INTO queues AS old (name, observed, observed_at) VALUES (:name, :seen, {_AT})
    ON CONFLICT (name) DO UPDATE SET observed = excluded.observed, observed_at = excluded.observed_at
    WHERE old.observed_at IS NULL OR old.observed_at < excluded.observed_at OR old.observed_at > now()
    """  # noqa: S608 - a constant
)
# Two of one transaction are not of the same moment.
DECIDED = text(
    f"""
    INSERT INTO decisions (queue, at, before, after, reason, message)
    VALUES (:queue, {_within("CAST(:at AS timestamptz)", "clock_timestamp()")}, :before, :after, :reason, :message)
    ON CONFLICT DO NOTHING
    """  # noqa: S608 - a constant
)
