"""Idempotency keys in the database: a key is stored by the statement that stores the jobs, or neither is.

The table's primary key lets each be stored once. Nobody waits for that: whoever stores a key holds a lock on it to the end
of its transaction, and who finds the lock taken stores nothing. So of any number at once, at any replicas, one stores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from leveret_producer.store.postgres import Postgres, TryAgain

# Begins the statement that stores jobs; `claimed` has a row if the key is ours.
CLAIM = """
    mine AS MATERIALIZED (
        SELECT pg_try_advisory_xact_lock(CAST(:lock_high AS integer), CAST(:lock_low AS integer)) AS free
    ), claimed AS (
        INSERT INTO idempotency_keys (caller, key, request, ids, created_at, max_attempts, warning)
        SELECT CAST(:caller AS text), CAST(:named AS text), CAST(:request AS bytea), CAST(:all_ids AS uuid[]), :created_at,
            (CAST(:max_attempts AS integer[]))[1], CAST(:warning AS text)
        FROM mine WHERE free
        ON CONFLICT DO NOTHING
        RETURNING caller
    ),
"""
_FIRST = text(
    "SELECT request, ids, created_at, max_attempts, warning FROM idempotency_keys WHERE caller = :caller AND key = :named"
)


@dataclass(frozen=True, slots=True)
class Key:
    """What a caller calls a request, and what the request was."""

    caller: str
    name: str
    request: bytes  # SHA-256
    lock: tuple[int, int]  # of caller and name, as PostgreSQL takes it: two signed numbers of 32 bits


@dataclass(frozen=True, slots=True)
class First:
    """What was stored of the first request with a key: enough to answer the same request again."""

    request: bytes
    ids: Sequence[UUID]
    created_at: datetime
    max_attempts: int | None  # of the first job
    warning: str | None


class KeyTaken(TryAgain):
    """Another request with the key is being stored, or was; of this one nothing was."""


class Keys:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def first(self, key: Key) -> First | None:
        """Return what was stored with a key, and committed."""
        async with self._postgres.transaction() as connection:
            row = (await connection.execute(_FIRST, {"caller": key.caller, "named": key.name})).one_or_none()
        return None if row is None else First(**row._mapping)


def claim_values(key: Key, ids: Sequence[UUID], warning: str | None) -> dict[str, Any]:
    """Return what CLAIM needs beside what jobs are stored with."""
    high, low = key.lock
    return {
        "lock_high": high,
        "lock_low": low,
        "caller": key.caller,
        "named": key.name,
        "request": key.request,
        "all_ids": list(ids),
        "warning": warning,
    }
