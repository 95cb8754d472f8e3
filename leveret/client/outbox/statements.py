"""The table `leveret_outbox`, and all statements on it.

Each has at most one parameter, `?`, a text with JSON, and returns at most one text with JSON: so it is the same for all
drivers, whatever they make of types and names of parameters.
"""

# ruff: noqa: S608 - the names and numbers in the statements are our own

TABLE = "leveret_outbox"
LEASE = 10  # s that rows are one relay's; then any may send them again, which does no harm
MOST = 200  # rows of each queue that are taken at once: 50 MiB, if all are as large as can be

LOCK = "SELECT pg_advisory_xact_lock(5463019278)"  # of those who create the table at once: PostgreSQL would fail one of them
CREATE = (
    f"""CREATE TABLE IF NOT EXISTS {TABLE} (
    id uuid PRIMARY KEY,                              -- the job's
    queue text NOT NULL,
    type text NOT NULL,
    payload text NOT NULL,                            -- JSON
    run_at timestamptz,
    made_at timestamptz NOT NULL DEFAULT now(),
    next_at timestamptz NOT NULL DEFAULT now(),       -- no relay takes it before
    tries integer NOT NULL DEFAULT 0,
    error text,                                       -- of the last try
    refused boolean NOT NULL DEFAULT false            -- for good: no relay takes it
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500)""",
    f"CREATE INDEX IF NOT EXISTS {TABLE}_due ON {TABLE} (queue, next_at, id) WHERE NOT refused",
)
DDL = ";\n".join(CREATE) + ";"

_GIVEN = "CAST(CAST(? AS text) AS json)"  # as a text first: a driver may have ideas of its own about JSON
INSERT = f"""
    INSERT INTO {TABLE} (id, queue, type, payload, run_at)
    SELECT id, queue, type, payload, coalesce(run_at, clock_timestamp() + delay * interval '1 second')
    FROM json_to_recordset({_GIVEN})
        AS new (id uuid, queue text, type text, payload text, run_at timestamptz, delay double precision)
"""
# Queue by queue, each found by a step in the index from the one before: one with a million rows holds up no other.
# By an array, as a join with few rows of a large table would read all of it. A time that is none in JSON becomes one.
TAKE = f"""
    WITH RECURSIVE steps AS (
        (SELECT queue FROM {TABLE} WHERE NOT refused ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (SELECT queue FROM {TABLE} WHERE NOT refused AND queue > last.queue ORDER BY queue LIMIT 1)
        FROM steps AS last WHERE last.queue IS NOT NULL
    ), queues AS (
        SELECT queue FROM steps WHERE queue IS NOT NULL
            AND queue NOT IN (SELECT value FROM json_array_elements_text({_GIVEN}) AS held (value))
    ), due AS MATERIALIZED (
        SELECT free.id FROM queues, LATERAL (
            SELECT id FROM {TABLE} WHERE NOT refused AND queue = queues.queue AND next_at <= now()
            ORDER BY next_at, id LIMIT {MOST} FOR UPDATE SKIP LOCKED
        ) AS free
    ), taken AS (
        UPDATE {TABLE} SET next_at = now() + interval '{LEASE} seconds', tries = tries + 1
        WHERE id = ANY(ARRAY(SELECT id FROM due))
        RETURNING id, queue, type, payload,
            CASE WHEN run_at IS NOT NULL THEN least(greatest(run_at, 'epoch'), '9999-01-01') END AS run_at
    )
    SELECT CAST(coalesce(json_agg(taken ORDER BY id), '[]') AS text) AS found FROM taken
"""
DELETE = f"""
    DELETE FROM {TABLE}
    WHERE id = ANY(ARRAY(SELECT CAST(value AS uuid) FROM json_array_elements_text({_GIVEN}) AS stored (value)))
"""
PUT_BACK = f"""
    UPDATE {TABLE} AS job SET next_at = now() + put.wait * interval '1 second', error = put.error, refused = put.refused
    FROM json_to_recordset({_GIVEN}) AS put (id uuid, wait double precision, error text, refused boolean)
    WHERE job.id = put.id
"""
