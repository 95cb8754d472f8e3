"""Cancels that are wanted, what must reach the broker beside jobs, and whose turn it is at what one replica does at a time.

A cancel is a row from the request until its job is final in that generation; those that a rule stands for are not named one
by one. None of the tables has partitions: their rows live shortly, and are few unless somebody cancels very many, so they are
cleaned up more eagerly than a table's share would say. Jobs have no new index for it.

A producer of the version before does none of this. It redrives and records jobs whose cancel is still wanted as if it were
not; so what counts is the row here, with its generation, and not the time that the job shows.
"""

from leveret_producer.store.migrations.statements import execute

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_EAGER = "WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500)"
_UP = f"""
ALTER TABLE jobs ADD COLUMN cancel_requested_at timestamptz;
CREATE TABLE cancel_rules (                               -- for all jobs of a queue that wait, of generation 1
    id uuid PRIMARY KEY,                                  -- the operation's
    queue text NOT NULL,
    type text,                                            -- null: any
    since timestamptz,
    before timestamptz NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE cancels (
    id uuid NOT NULL,                                     -- the job's
    generation integer NOT NULL,
    queue text NOT NULL,
    rule uuid,                                            -- stands for it; null: it's named
    requested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, generation)
) {_EAGER};
CREATE INDEX cancels_of_rule ON cancels (rule) WHERE rule IS NOT NULL;
CREATE TABLE outbox (                                     -- from the request until the broker has it
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,                                   -- cancel, rule, reply
    queue text NOT NULL,
    job uuid NOT NULL,                                    -- or the rule
    generation integer,
    properties text,                                      -- JSON; of the message
    body bytea,
    lease_until timestamptz NOT NULL DEFAULT now()        -- until then one replica publishes it
) {_EAGER};
CREATE TABLE turns (
    name text PRIMARY KEY,
    until timestamptz NOT NULL,                           -- nobody else's turn before
    done_at timestamptz                                   -- when one last ended well
);
"""
_DOWN = """
DROP TABLE turns;
DROP TABLE outbox;
DROP TABLE cancels;
DROP TABLE cancel_rules;
ALTER TABLE jobs DROP COLUMN cancel_requested_at;
"""


def upgrade() -> None:
    execute(_UP)


def downgrade() -> None:
    execute(_DOWN)
