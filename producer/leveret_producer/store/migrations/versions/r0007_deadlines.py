"""Deadlines of jobs.

A producer of the version before neither writes nor reads them, and what it redrives keeps its own.
"""

from leveret_producer.store.migrations.statements import execute

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute("ALTER TABLE jobs ADD COLUMN deadline timestamptz;\n")


def downgrade() -> None:
    execute("ALTER TABLE jobs DROP COLUMN deadline;\n")
