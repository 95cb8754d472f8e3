"""The sender's headers, for what the store publishes again; and who has which lease, to see whose are left by the dead.

A producer of the version before neither writes nor reads either: what it publishes or records has the three headers that it
knows, and what it takes is free when its lease runs out. Nor does it matter if the leases are lost, so they are not logged.
"""

from leveret_producer.store.migrations.statements import execute

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    execute("ALTER TABLE payloads ADD COLUMN headers text  -- JSON\n;\n")
    execute("CREATE UNLOGGED TABLE leases (until timestamptz PRIMARY KEY, producer text NOT NULL);\n")


def downgrade() -> None:
    execute("ALTER TABLE payloads DROP COLUMN headers;\n")
    execute("DROP TABLE leases;\n")
