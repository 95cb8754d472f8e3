"""A partition a day for jobs, payloads and attempts, so that retention drops whole partitions.

They are one level down: the days from this migration's on are under `…_by_day`. What is of no such day is in one of two
others. `…_default` has the ids that are no UUIDv7 of these times (foreign clients may choose any) and the rows from before;
it may be large, and making a day's partition does not look at it. `…_by_day_rest` has the rows that outlive their day's
partition, and is small.
"""

# ruff: noqa: S608 - the names and times in the statements are our own

from datetime import UTC, datetime, timedelta

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_KEYS = {"jobs": "id", "payloads": "id", "attempts": "job_id"}
_LAST_DAY = datetime(2100, 1, 1, tzinfo=UTC)
_DAYS = 8  # today and a week ahead

# Rows that go by their age, one by one, are found by when they ended. Only what lies outside the days pays for it.
_ENDED = "(finished_at) WHERE finished_at IS NOT NULL AND (state <> 'dead' OR purged_at IS NOT NULL)"


def upgrade() -> None:
    _lock()
    today = _today()
    for table, key in _KEYS.items():
        days = f"{table}_by_day"
        _run(
            f"CREATE TABLE {days} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE ({key})",
            f"CREATE TABLE {days}_rest PARTITION OF {days} DEFAULT",
        )
        for day in (today + one * timedelta(days=1) for one in range(_DAYS)):
            bounds = _range(day, day + timedelta(days=1))
            _run(f"CREATE TABLE {table}_{day:%Y%m%d} PARTITION OF {days} FOR VALUES {bounds}")
        _run(
            f"WITH moved AS (DELETE FROM {table}_default WHERE {key} >= '{_first_id(today)}' "
            f"AND {key} < '{_first_id(_LAST_DAY)}' RETURNING *) INSERT INTO {days} SELECT * FROM moved",
            f"ALTER TABLE {table} ATTACH PARTITION {days} FOR VALUES {_range(today, _LAST_DAY)}",
        )
    _run(
        f"CREATE INDEX jobs_default_ended ON jobs_default {_ENDED}",
        f"CREATE INDEX jobs_by_day_rest_ended ON jobs_by_day_rest {_ENDED}",
    )


def downgrade() -> None:
    _lock()
    for table in _KEYS:
        _run(
            f"ALTER TABLE {table} DETACH PARTITION {table}_by_day",
            f"INSERT INTO {table} SELECT * FROM {table}_by_day",
            f"DROP TABLE {table}_by_day",
        )
    _run("DROP INDEX jobs_default_ended")


def _lock() -> None:
    """Hold off the producers of the version before, which go on meanwhile, at one point and not in the midst."""
    _run("LOCK TABLE jobs, payloads, attempts IN ACCESS EXCLUSIVE MODE")


def _today() -> datetime:
    now = op.get_bind().execute(text("SELECT now()")).scalar_one()
    return datetime.combine(now.astimezone(UTC).date(), datetime.min.time(), UTC)


def _range(first: datetime, end: datetime) -> str:
    return f"FROM ('{_first_id(first)}') TO ('{_first_id(end)}')"


def _first_id(at: datetime) -> str:
    return f"{round(at.timestamp() * 1000):012x}".ljust(32, "0")


def _run(*statements: str) -> None:
    for statement in statements:
        op.execute(statement)
