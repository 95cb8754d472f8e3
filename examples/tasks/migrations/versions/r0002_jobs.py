"""Which job a task's last run is, so that it can be cancelled."""

from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE tasks ADD COLUMN job uuid")  # null: not known yet, or cancelled
    op.execute("CREATE INDEX tasks_to_cancel ON tasks (next_try) WHERE status = 'cancelled' AND job IS NOT NULL")
