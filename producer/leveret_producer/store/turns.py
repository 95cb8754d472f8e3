"""Whose turn it is at what one replica does at a time: a lease by a name, which also says when the next turn may begin.

A turn is renewed while it lasts. A replica that dies in it loses it within a minute; one that stands still so long may find
another one at the same: what is done in a turn has to bear that.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import TextClause, text

from leveret.ending import end
from leveret_producer.store.postgres import DatabaseUnavailable, Postgres, TryAgain

log = structlog.get_logger(__name__)

LEASE = 60.0  # s

_LATER = "now() + CAST(:seconds AS double precision) * interval '1 second'"
_TAKE = text(
    f"""
    INSERT INTO turns (name, until) VALUES (:name, {_LATER})
    ON CONFLICT (name) DO UPDATE SET until = excluded.until WHERE turns.until <= now() RETURNING until
    """  # noqa: S608 - a constant
)
_RENEW = text(f"UPDATE turns SET until = {_LATER} WHERE name = :name AND until = :until RETURNING until")  # noqa: S608
_END = text(
    f"UPDATE turns SET until = {_LATER}, done_at = now() WHERE name = :name AND until = :until RETURNING until"  # noqa: S608
)
_AGE = text("SELECT CAST(extract(epoch FROM now() - done_at) AS double precision) AS age FROM turns WHERE name = :name")


@dataclass(slots=True)
class Turn:
    name: str
    until: datetime  # as this replica wrote it: it's ours for as long as that is there
    pause: float  # s from its end until the next one


class Turns:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    @asynccontextmanager
    async def take(self, name: str, pause: float, lease: float = LEASE) -> AsyncIterator[Turn | None]:
        """Have the turn for as long as the block lasts; None: it's another one's, or not time yet.

        The next may begin `pause` seconds after the block, or `lease` seconds after it failed.
        """
        until = await self._write(_TAKE, name=name, seconds=lease)
        if until is None:
            yield None
            return
        turn = Turn(name, until, pause)
        renewing = asyncio.create_task(self._renew(turn, lease))
        try:
            yield turn
        finally:
            await end([renewing])
        await self._write(_END, name=name, until=turn.until, seconds=turn.pause)

    async def age(self, name: str) -> float | None:
        """Return how many seconds ago the last turn ended well; None: there was none."""
        async with self._postgres.transaction() as connection:
            age: float | None = (await connection.execute(_AGE, {"name": name})).scalar_one_or_none()
            return age

    async def _renew(self, turn: Turn, lease: float) -> None:
        while True:
            await asyncio.sleep(lease / 3)
            try:
                turn.until = await self._write(_RENEW, name=turn.name, until=turn.until, seconds=lease) or turn.until
            except (DatabaseUnavailable, TryAgain) as problem:
                log.debug("a turn can't be renewed yet", turn=turn.name, because=str(problem))

    async def _write(self, statement: TextClause, **values: object) -> datetime | None:
        async with self._postgres.transaction() as connection:
            until: datetime | None = (await connection.execute(statement, values)).scalar_one_or_none()
            return until
