"""What the operator and the consumers told about queues: which there are, how they are, what their handlers take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Row, text

from leveret.events import HandlerInfo, QueueObserved
from leveret.retry import MOST_ATTEMPTS
from leveret_producer.queue_bound import Length
from leveret_producer.slices import Slices, Steps
from leveret_producer.store.postgres import Postgres
from leveret_producer.views import DecisionView, JobQueueName, QueueView

SHOWN_DECISIONS = 10
MOST_NAMED_LIKE = 200

# By the database's clock; of what is from the future, or from before all calendars, too.
_AGE = "now() - least(greatest(observed_at, now() - interval '1 day'), now())"
# A queue is known from its definition until its removal; a definition after that makes it known again.
KNOWN = "defined_at IS NOT NULL AND (removed_at IS NULL OR removed_at < defined_at)"
_DEFINITIONS = text(
    f"""
    SELECT name, jobqueue, queues.version, max_attempts, types, max_length,
        CASE WHEN max_length IS NOT NULL THEN observed END AS observed, {_AGE} AS observed_age
    FROM queues LEFT JOIN handlers ON handlers.queue = name AND handlers.version = queues.version
    WHERE {KNOWN}
    """  # noqa: S608 - a constant
)
_NAMED_LIKE = text(
    f"""
    SELECT name FROM queues WHERE {KNOWN} AND starts_with(name, split_part(:name, '.', 1) || '.')
    ORDER BY name <> :name, name LIMIT :most
    """  # noqa: S608 - a constant
)
_VIEWS = f"""
    SELECT name, namespace, jobqueue, observed,
        CASE WHEN observed_at IS NOT NULL THEN least(observed_at, now()) END AS observed_at
    FROM queues
    WHERE {KNOWN}
    """  # noqa: S608 - a constant
_ALL_VIEWS, _ONE_VIEW = text(f"{_VIEWS} ORDER BY name"), text(f"{_VIEWS} AND name = :name")
# A row a queue, for the driver takes much longer over ten times as many.
_DECISIONS = text(
    """
    SELECT queues.name AS queue, array_agg(at ORDER BY at DESC) AS at, array_agg(before ORDER BY at DESC) AS before,
        array_agg(after ORDER BY at DESC) AS after, array_agg(reason ORDER BY at DESC) AS reason,
        array_agg(message ORDER BY at DESC) AS message
    FROM queues, LATERAL (
        SELECT at, before, after, reason, message FROM decisions
        WHERE decisions.queue = queues.name AND at <= now() ORDER BY at DESC LIMIT :shown
    ) AS last
    WHERE queues.name = ANY(CAST(:names AS text[])) GROUP BY queues.name
    """
)
_OLDEST = text(
    f"""
    SELECT name, (
        SELECT coalesce(due_at, created_at) FROM jobs
        WHERE queue = name AND state IN ('accepted', 'scheduled', 'queued') AND coalesce(due_at, created_at) <= now()
        ORDER BY coalesce(due_at, created_at) LIMIT 1
    ) AS since FROM queues WHERE {KNOWN}
    """  # noqa: S608 - a constant
)
_OBSERVED = (
    "leveret_version",
    "ready",
    "unacked",
    "backlog",
    "dead_letters",
    "arrival_rate",
    "completion_rate",
    "oldest_age_seconds",
    "replicas",
    "ready_replicas",
    "desired_replicas",
)
_types = msgspec.json.Decoder(dict[str, HandlerInfo])
_observed = msgspec.json.Decoder(QueueObserved)


@dataclass(frozen=True, slots=True)
class KnownQueue:
    name: str
    max_attempts: int | None
    handlers: Mapping[str, HandlerInfo]  # of the version that its consumers run; empty while that isn't known
    version: str | None
    length: Length | None = None  # None: not limited

    def attempts_for(self, type: str) -> int | None:
        handler = self.handlers.get(type)
        attempts = (handler and handler.max_attempts) or self.max_attempts
        return None if attempts is None else max(1, min(attempts, MOST_ATTEMPTS))


class Queues:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._slices = Slices()
        self._handlers: dict[str, tuple[str, Mapping[str, HandlerInfo]]] = {}  # by queue: as told, and as read

    async def known(self) -> dict[str, KnownQueue]:
        asked_at = datetime.now(UTC)
        async with self._postgres.transaction() as connection:
            rows = (await connection.execute(_DEFINITIONS)).all()
        self._handlers = {row.name: self._read_handlers(row.name, row.types or "{}") for row in rows}
        return {row.name: _known(row, self._handlers[row.name][1], asked_at) for row in rows}

    def _read_handlers(self, queue: str, told: str) -> tuple[str, Mapping[str, HandlerInfo]]:
        """Read them anew only if they changed: a thousand queues may have megabytes of schemas."""
        known = self._handlers.get(queue)
        return known if known is not None and known[0] == told else (told, _types.decode(told))

    async def named_like(self, name: str) -> list[str]:
        """Return a queue's name, if it is known, and some of the same namespace."""
        values = {"name": name.replace("\0", ""), "most": MOST_NAMED_LIKE}
        async with self._postgres.transaction() as connection:
            return list((await connection.execute(_NAMED_LIKE, values)).scalars())

    async def view(self, name: str) -> QueueView | None:
        found = await self._views(name)
        return found[0] if found else None

    async def views(self) -> list[QueueView]:
        return await self._views(None)

    async def oldest_waiting(self) -> dict[str, datetime | None]:
        """Return, for each known queue, since when its oldest job could have started."""
        async with self._postgres.transaction() as connection:
            return {row.name: row.since for row in await connection.execute(_OLDEST)}

    async def _views(self, name: str | None) -> list[QueueView]:
        async with self._postgres.transaction() as connection:
            asked = connection.execute(_ALL_VIEWS) if name is None else connection.execute(_ONE_VIEW, {"name": name})
            rows = (await asked).all()
            names = [row.name for row in rows]
            told = await connection.execute(_DECISIONS, {"names": names, "shown": SHOWN_DECISIONS})
            decisions = {row.queue: row for row in told}
        return await self._slices.run(_viewing(rows, decisions))


def _known(row: Row[Any], types: Mapping[str, HandlerInfo], asked_at: datetime) -> KnownQueue:
    length = _length(row, asked_at) if row.max_length else None
    return KnownQueue(row.name, row.max_attempts, types, row.version, length)


def _length(row: Row[Any], asked_at: datetime) -> Length:
    seen = _observed.decode(row.observed) if row.observed else None
    if seen is None:
        return Length(row.max_length, row.jobqueue)
    return Length(row.max_length, row.jobqueue, seen.backlog, asked_at - row.observed_age, seen.completion_rate)


def _viewing(rows: Sequence[Row[Any]], decisions: Mapping[str, Row[Any]]) -> Steps[list[QueueView]]:
    """Of a thousand queues with ten decisions each it takes some 20 ms."""
    views = []
    for row in rows:
        told = decisions.get(row.name)
        of_it = zip(told.at, told.before, told.after, told.reason, told.message, strict=True) if told else ()
        views.append(_view(row, [DecisionView(*one) for one in of_it]))
        yield
    return views


def _view(row: Row[Any], decisions: list[DecisionView]) -> QueueView:
    seen = _observed.decode(row.observed) if row.observed else None
    as_seen: dict[str, Any] = {field: getattr(seen, field, None) for field in _OBSERVED}
    return QueueView(
        name=row.name,
        jobqueue=JobQueueName(row.namespace, row.jobqueue),
        observed_at=row.observed_at,
        decisions=decisions,
        paused=False,  # nothing can pause a queue yet
        **as_seen,
    )
