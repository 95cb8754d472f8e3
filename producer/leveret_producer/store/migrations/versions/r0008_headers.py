"""The sender's headers, for what the store publishes again.

A producer of the version before neither writes nor reads them: what it publishes or records has the three that it knows.
"""

from leveret_producer.store.migrations.statements import execute

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute("ALTER TABLE payloads ADD COLUMN headers text  -- JSON\n;\n")


def downgrade() -> None:
    execute("ALTER TABLE payloads DROP COLUMN headers;\n")
