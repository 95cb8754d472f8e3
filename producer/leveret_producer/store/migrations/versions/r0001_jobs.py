"""Jobs, payloads, attempts; queues, handlers, decisions.

The first three are partitioned by ranges of the job's id. An id is a UUIDv7 and begins with its time, so a range of ids
is a range of time, and old jobs can be dropped by the partition. Until there are such partitions all rows are in the
default one, where ids of other versions, which foreign clients may choose, stay for good.

JSON is kept as text, exactly as it was sent: PostgreSQL's own types would refuse or rewrite some of it.
"""

from alembic import op

from leveret_producer.store.migrations.statements import execute

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE jobs (
    id uuid NOT NULL,
    queue text NOT NULL,
    type text NOT NULL,
    state text NOT NULL,
    merge_key bigint NOT NULL,                 -- leveret.jobs.merge_key of the report that wrote the row
    tie bigint NOT NULL DEFAULT 0,             -- orders reports of the same key
    generation integer NOT NULL DEFAULT 1,
    attempt integer NOT NULL DEFAULT 0,
    max_attempts integer,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    result text,
    error text,
    progress text,
    correlation_id text,
    over_amqp boolean NOT NULL DEFAULT false,  -- not submitted here: known by its events alone
    published_at timestamptz,                  -- the broker confirmed it
    lease_until timestamptz NOT NULL DEFAULT now(),  -- until then one replica publishes it
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE TABLE jobs_default PARTITION OF jobs DEFAULT;
CREATE INDEX jobs_outbox ON jobs (id) WHERE published_at IS NULL;
CREATE INDEX jobs_newest ON jobs (created_at DESC, id DESC);
CREATE INDEX jobs_of_queue ON jobs (queue, created_at DESC, id DESC);
CREATE INDEX jobs_of_state ON jobs (queue, state, created_at DESC, id DESC);

CREATE TABLE payloads (
    id uuid NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE TABLE payloads_default PARTITION OF payloads DEFAULT;

CREATE TABLE attempts (
    job_id uuid NOT NULL,
    generation integer NOT NULL,
    attempt integer NOT NULL,
    delivery integer NOT NULL,
    merge_key bigint NOT NULL,
    consumer text NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    outcome text,                              -- null while it runs
    error text,
    PRIMARY KEY (job_id, generation, attempt, delivery)
) PARTITION BY RANGE (job_id);
CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;

CREATE TABLE queues (
    name text PRIMARY KEY,
    namespace text,
    jobqueue text,
    version text,
    max_attempts integer,
    timeout_seconds double precision,
    defined_at timestamptz,
    removed_at timestamptz,
    observed text,
    observed_at timestamptz
);

CREATE TABLE handlers (
    queue text NOT NULL,
    version text NOT NULL,
    types text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (queue, version)
);

CREATE TABLE decisions (
    queue text NOT NULL,
    at timestamptz NOT NULL,
    before integer NOT NULL,
    after integer NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    PRIMARY KEY (queue, at)
);
"""


def upgrade() -> None:
    execute(_TABLES)


def downgrade() -> None:
    for table in ("decisions", "handlers", "queues", "attempts", "payloads", "jobs"):
        op.execute(f"DROP TABLE {table}")
