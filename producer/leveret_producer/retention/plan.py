"""Which partitions to make and which to remove, decided from the time, the partitions there are, and the settings.

An id begins with its time, so the jobs of a day (UTC) are a range of ids, and each table has a partition a day. A day's
partition is removed once a whole day and the retention have passed since the day's end. What ended within that one day
more is old enough by then; what ended later, or has not ended, is few rows, and is kept by itself.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from leveret.durations import format_duration

DAY = timedelta(days=1)
DAYS_AHEAD = 7  # so many days without any producer, and the first job of the next still finds its partition
KEYS_KEPT = DAY  # idempotency keys: as long as a client may send again what it sent
# In the order in which a day's are removed: what a job has, before the job.
TABLES = ("attempts", "payloads", "jobs")


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what is over is kept. Payloads may go before their jobs."""

    jobs: timedelta = 30 * DAY
    payloads: timedelta = 7 * DAY
    decisions: timedelta = 30 * DAY

    def of(self, table: str) -> timedelta:
        return self.payloads if table == "payloads" else self.jobs


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    day: date
    table: str

    @property
    def name(self) -> str:
        return f"{self.table}_{self.day:%Y%m%d}"

    @property
    def bounds(self) -> tuple[UUID, UUID]:
        """The first id of the day, and the first that is not the day's any more."""
        return first_id(midnight(self.day)), first_id(midnight(self.day + DAY))


@dataclass(frozen=True, slots=True)
class Create:
    partition: Partition
    because: str


@dataclass(frozen=True, slots=True)
class Remove:
    partition: Partition
    because: str


Action = Create | Remove


def plan(now: datetime, there: Collection[Partition], retention: Retention) -> list[Action]:
    """Return what to do, in this order: the next days' partitions first, then the oldest removed."""
    actions: list[Action] = []
    today = now.astimezone(UTC).date()
    for ahead in range(DAYS_AHEAD + 1):
        for table in reversed(TABLES):
            wanted = Partition(today + ahead * DAY, table)
            if wanted not in there:
                because = "jobs of today come" if ahead == 0 else f"jobs will come in {ahead} days"
                actions.append(Create(wanted, because))
    for old in sorted(there, key=lambda one: (one.day, TABLES.index(one.table))):
        if now >= removable_at(old, retention):
            because = f"the {old.table} of {old.day} are kept for {format_duration(retention.of(old.table))}, and that is over"
            actions.append(Remove(old, because))
    return actions


def removable_at(partition: Partition, retention: Retention) -> datetime:
    return ended_before(partition.day) + retention.of(partition.table)


def ended_before(day: date) -> datetime:
    """Return the time before which a job of the day must have ended to go with the day's partition."""
    return midnight(day) + 2 * DAY


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def first_id(at: datetime) -> UUID:
    """Return the smallest UUIDv7 of a time: 48 bits of milliseconds, and zeros."""
    return UUID(int=round(at.timestamp() * 1000) << 80)
