"""Dead letters: why, whether they are put away, the operations on many of them; and how long a queue may become.

A body that is no text PostgreSQL takes is kept as bytes, so that what is redriven is what came.
"""

from leveret_producer.store.migrations.statements import execute

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_UP = """
ALTER TABLE jobs
    ADD COLUMN dead_reason text,                          -- with state dead: leveret.jobs.DeadReason
    ADD COLUMN purged_at timestamptz,                     -- a dead letter that somebody put away for good
    ADD COLUMN returned integer NOT NULL DEFAULT 0        -- how often the broker took it and had no queue for it
;
UPDATE jobs SET dead_reason = CAST(error AS json) ->> 'reason' WHERE state = 'dead' AND error IS NOT NULL;
CREATE INDEX jobs_dead ON jobs (queue, finished_at DESC, id DESC) WHERE state = 'dead' AND purged_at IS NULL;
ALTER TABLE payloads ADD COLUMN raw bytea                 -- instead of body, which is empty then
;
ALTER TABLE queues
    ADD COLUMN max_length bigint,                         -- jobs; null: no limit
    ADD COLUMN dead_letters_of text
;
CREATE TABLE dead_letter_operations (
    id uuid PRIMARY KEY,
    queue text NOT NULL,
    action text NOT NULL,                                 -- redrive, purge
    selection text NOT NULL,                              -- JSON: what was asked for
    state text NOT NULL,                                  -- running, done
    total bigint NOT NULL,
    done bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    swept_at timestamptz,                                 -- the queue's old messages were looked through since
    lease_until timestamptz NOT NULL DEFAULT now()        -- until then one replica works on it, or sweeps after it
);
CREATE TABLE dead_letter_chunks (                         -- what is left to do of an operation
    operation uuid NOT NULL REFERENCES dead_letter_operations ON DELETE CASCADE,
    number integer NOT NULL,
    ids uuid[] NOT NULL,                                  -- in order
    generations integer[] NOT NULL,                       -- the dead ones; a later one is no business of the operation
    PRIMARY KEY (operation, number)
);
CREATE INDEX dead_letter_operations_open ON dead_letter_operations (created_at) WHERE swept_at IS NULL;
"""
_DOWN = """
DROP TABLE dead_letter_chunks;
DROP TABLE dead_letter_operations;
ALTER TABLE queues DROP COLUMN dead_letters_of, DROP COLUMN max_length;
ALTER TABLE payloads DROP COLUMN raw;
DROP INDEX jobs_dead;
ALTER TABLE jobs DROP COLUMN returned, DROP COLUMN purged_at, DROP COLUMN dead_reason;
"""


def upgrade() -> None:
    execute(_UP)


def downgrade() -> None:
    execute(_DOWN)
