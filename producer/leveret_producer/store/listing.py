"""Which jobs a page of the list has, and the query that finds them."""

# ruff: noqa: S608 - what the statements are made of is our own

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from leveret.jobs import State

COLUMNS = (
    "id",
    "queue",
    "type",
    "state",
    "generation",
    "attempt",
    "max_attempts",
    "created_at",
    "run_at",
    "deadline",
    "started_at",
    "finished_at",
    "result",
    "error",
    "progress",
    "correlation_id",
    "cancel_requested_at",
)
# An error is stored as we encode it: the traceback is its last field, and within its strings all quotes are escaped.
SHORT_ERROR = """CASE WHEN strpos(error, ',"traceback":"') > 0
    THEN split_part(error, ',"traceback":"', 1) || '}' ELSE error END AS error"""
_LISTED = ", ".join(SHORT_ERROR if name == "error" else name for name in COLUMNS if name != "result")
# Sooner than we give a transaction up: so the database itself says that it is there and that this took too long.
LIST_TIMEOUT = text("SET LOCAL statement_timeout = '4s'")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of the list ends: the next one begins behind it."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs a list is to hold; None means any."""

    queue: str | None = None
    state: State | None = None
    type: str | None = None
    behind: Place | None = None
    limit: int = 50


def listing(wanted: Wanted) -> tuple[str, dict[str, Any]]:
    """Return the query of a page, and its values."""
    conditions, values = ["true"], dict[str, Any](limit=wanted.limit)
    for name, value in (("queue", wanted.queue), ("state", wanted.state), ("type", wanted.type)):
        if value is not None:
            conditions.append(f"{name} = :{name}")
            values[name] = str(value)
    if wanted.behind is not None:
        conditions.append("(created_at, id) < (:behind_at, :behind_id)")
        values |= {"behind_at": wanted.behind.created_at, "behind_id": wanted.behind.id}
    query = _of_all_queues if wanted.queue is None else _of_queue
    return query(" AND ".join(conditions)), values


def _of_queue(conditions: str) -> str:
    return f"SELECT {_LISTED} FROM jobs WHERE {conditions} ORDER BY created_at DESC, id DESC LIMIT :limit"


def _of_all_queues(conditions: str) -> str:
    """All indexes for lists begin with the queue (docs/decisions/0016).

    So the queues that jobs have are found first, each by one step in an index from the one before, and then the newest
    jobs of each.
    """
    return f"""
        WITH RECURSIVE steps AS (
            (SELECT queue FROM jobs ORDER BY queue LIMIT 1)
            UNION ALL
            SELECT (SELECT queue FROM jobs WHERE queue > last.queue ORDER BY queue LIMIT 1)
            FROM steps AS last WHERE last.queue IS NOT NULL
        ), queues_of_jobs AS MATERIALIZED (
            SELECT queue FROM steps WHERE queue IS NOT NULL
        )
        SELECT found.* FROM queues_of_jobs, LATERAL (
            {_of_queue(f"queue = queues_of_jobs.queue AND {conditions}")}
        ) AS found
        ORDER BY created_at DESC, id DESC LIMIT :limit
    """
