"""Do every few minutes what the plan says, one replica at a time, and again soon where a lock was not to be had.

The time is the earlier of the database's and this process's: a clock that jumped ahead would else remove what is not old.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

import asyncpg
import structlog

from leveret.settings import Database, MissingSetting
from leveret_producer.retention.partitions import Crowded, Partitions
from leveret_producer.retention.plan import KEYS_KEPT, Action, Create, Retention, plan
from leveret_producer.retention.rows import Rows, Walk
from leveret_producer.retention.session import alone
from leveret_producer.store.postgres import AWAY, DatabaseUnavailable, Defect, TryAgain, said
from leveret_producer.store.turns import Turns

log = structlog.get_logger(__name__)

EVERY, SOON = 600.0, 60.0  # s
MOST_LOOKED = 20_000  # rows a walk looks at in one turn

# The locks were not granted in time, or in an order that would not do; or a row came in between.
_ANOTHER_TIME = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.CheckViolationError,
    asyncpg.QueryCanceledError,
)


class Keeper:
    def __init__(
        self, read: Callable[[], Database], name: str, retention: Retention, clock: Callable[[], datetime], turns: Turns
    ) -> None:
        self._read, self._name, self._retention, self._clock, self._turns = read, name, retention, clock, turns
        self._walks: dict[str, Walk] = {}

    async def run(self) -> None:
        """Take turns for ever."""
        while True:
            try:
                async with self._turns.take("retention", pause=EVERY) as turn:
                    if turn and not await self.turn():
                        turn.pause = SOON
            except (DatabaseUnavailable, TryAgain) as problem:
                log.warning("retention waits for the database", because=str(problem), next_try_seconds=SOON)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, MissingSetting) as problem:
                if isinstance(problem, asyncpg.PostgresError) and not str(problem.sqlstate).startswith(AWAY):
                    raise Defect(said(problem)) from None
                log.warning("retention waits for the database", because=said(problem), next_try_seconds=SOON)
            await asyncio.sleep(SOON)

    async def turn(self) -> bool:
        """Do what is to be done; False: something is left for another time. Raises what asyncpg does."""
        async with alone(self._read, f"{self._name} retention") as session:
            if session is None:
                return True  # another replica is at it: one of the version before, or one that stood still
            partitions, rows = Partitions(session), Rows(session, self._walks)
            now = min(self._clock(), await session.now())
            done = True
            for action in plan(now, await partitions.there(), self._retention):
                try:
                    await self._carry_out(action, partitions, rows, now)
                except _ANOTHER_TIME as problem:
                    # The others wait behind us while we wait: once a turn is enough.
                    log.info("left for another time", partition=action.partition.name, because=said(problem))
                    done = False
                    break
            try:
                await self._clear(rows, now)
            except _ANOTHER_TIME as problem:
                log.info("old rows are left for another time", because=said(problem))
                done = False
            return done

    async def _carry_out(self, action: Action, partitions: Partitions, rows: Rows, now: datetime) -> None:
        name = action.partition.name
        if isinstance(action, Create):
            if await partitions.create(action):
                log.info("a partition was made", partition=name, because=action.because)
            else:
                log.info("a day is without a partition: too many of its rows are elsewhere already", partition=name)
            return
        removed = await partitions.remove(action.partition)
        if isinstance(removed, Crowded):
            over_before = now - self._retention.of(action.partition.table)
            walk = await rows.walk(name, action.partition.table, over_before, MOST_LOOKED)
            log.info("a partition stays, for much of it must stay", partition=name, rows_deleted=walk.deleted)
        else:
            self._walks.pop(name, None)
            log.info("a partition was removed", partition=name, because=action.because, rows_kept=removed.moved)

    async def _clear(self, rows: Rows, now: datetime) -> None:
        jobs = await rows.clear_ended(self._retention, now)
        deleted = {"payloads": 0, "attempts": 0}
        for table in deleted:
            for rest in (f"{table}_default", f"{table}_by_day_rest"):
                walk = await rows.walk(rest, table, now - self._retention.of(table), MOST_LOOKED)
                deleted[table] += walk.deleted
        decisions = await rows.clear_decisions(self._retention, now)
        handlers = await rows.clear_handlers(now - self._retention.jobs)
        deleted |= {"decisions": decisions, "handlers": handlers, "keys": await rows.clear_keys(now - KEYS_KEPT)}
        if jobs or any(deleted.values()):
            log.info("old rows were deleted", jobs=jobs, **deleted)
