"""Lists of jobs by type: an index for them, and none for a list of all, which is put together from those of the queues.

A producer of the version before lists all jobs without an index until it is replaced; it does everything else as before.
"""

from leveret_producer.store.migrations.statements import execute

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_UP = """
CREATE INDEX jobs_of_type ON jobs (queue, type, created_at DESC, id DESC);
DROP INDEX jobs_newest;
"""
_DOWN = """
CREATE INDEX jobs_newest ON jobs (created_at DESC, id DESC);
DROP INDEX jobs_of_type;
"""


def upgrade() -> None:
    execute(_UP)


def downgrade() -> None:
    execute(_DOWN)
