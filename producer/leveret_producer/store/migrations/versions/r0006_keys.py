"""Idempotency keys: by which key a caller submitted what, and what the first answer was.

One table without partitions: a key says nothing of its time, and it has to be there once among all days. It holds ids and
not what was answered: whoever sends the same again brings the rest. A producer of the version before knows no keys; it
takes a request that has one as any other.
"""

from leveret_producer.store.migrations.statements import execute

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_UP = """
CREATE TABLE idempotency_keys (
    caller text NOT NULL,
    key text NOT NULL,
    request bytea NOT NULL,                               -- SHA-256 of what was asked of which queue
    ids uuid[] NOT NULL,                                  -- of the jobs, in order
    created_at timestamptz NOT NULL,                      -- theirs
    max_attempts integer,                                 -- of the first
    warning text,
    stored_at timestamptz NOT NULL DEFAULT now(),         -- by the database's clock: how long it is kept counts from it
    PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_keys_stored ON idempotency_keys (stored_at);
"""


def upgrade() -> None:
    execute(_UP)


def downgrade() -> None:
    execute("DROP TABLE idempotency_keys;\n")
