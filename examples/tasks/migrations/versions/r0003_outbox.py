"""The outbox: jobs that are stored with their tasks, until they are sent."""

from alembic import op

from leveret.client import outbox

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    outbox.create(op.get_bind())
