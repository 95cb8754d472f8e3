"""Jobs that wait for a time: `run_at`, and retries whose wait is too long for the broker.

Such a row is in the outbox with a lease until its time comes. The outbox is read in the order of the leases' ends, so a
million rows that wait cost those that are due nothing.
"""

from leveret_producer.store.migrations.statements import execute

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_UP = """
ALTER TABLE jobs
    ADD COLUMN run_at timestamptz,                        -- what the submitter asked for
    ADD COLUMN due_at timestamptz,                        -- the outbox publishes it then; null: at once
    ADD COLUMN next_attempt integer NOT NULL DEFAULT 1    -- which attempt the outbox publishes
;
ALTER TABLE payloads                                      -- the rest of a message that is to be published again
    ADD COLUMN reply_to text,
    ADD COLUMN priority smallint,
    ADD COLUMN traceparent text;
CREATE INDEX jobs_due ON jobs (lease_until, id) WHERE published_at IS NULL;
CREATE INDEX jobs_waiting ON jobs (queue, (coalesce(due_at, created_at)))
    WHERE state IN ('accepted', 'scheduled', 'queued');
DROP INDEX jobs_outbox;
"""
_DOWN = """
CREATE INDEX jobs_outbox ON jobs (id) WHERE published_at IS NULL;
DROP INDEX jobs_waiting;
DROP INDEX jobs_due;
ALTER TABLE payloads DROP COLUMN traceparent, DROP COLUMN priority, DROP COLUMN reply_to;
ALTER TABLE jobs DROP COLUMN next_attempt, DROP COLUMN due_at, DROP COLUMN run_at;
"""


def upgrade() -> None:
    execute(_UP)


def downgrade() -> None:
    execute(_DOWN)
