"""The table of tasks."""

from alembic import op

revision, down_revision = "0001", None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE tasks (
          id          uuid PRIMARY KEY,              -- version 7: in the order of their creation
          name        text NOT NULL,
          kind        text NOT NULL,
          seconds     double precision NOT NULL,
          status      text NOT NULL DEFAULT 'new',
          error       text,
          created_at  timestamptz NOT NULL DEFAULT now(),
          started_at  timestamptz,
          finished_at timestamptz,
          run         integer NOT NULL DEFAULT 1,    -- one more with each PATCH to new
          submitted   integer NOT NULL DEFAULT 0,    -- the run that Leveret has; below `run` it is an intent
          next_try    timestamptz NOT NULL DEFAULT now(),
          generation  integer NOT NULL DEFAULT 0,    -- with attempt and step: the report that the row is of
          attempt     integer NOT NULL DEFAULT 0,
          step        integer NOT NULL DEFAULT 0
        )""")
    op.execute("CREATE INDEX tasks_by_status ON tasks (status, id)")
    op.execute("CREATE INDEX tasks_to_submit ON tasks (next_try) WHERE status = 'new' AND submitted < run")
