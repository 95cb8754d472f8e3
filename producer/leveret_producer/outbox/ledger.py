"""Write in batches what became of published jobs, and keep it until it is written."""

import asyncio
import contextlib
from collections.abc import Sequence

import structlog

from leveret.jobs import Envelope
from leveret_producer.outbox.bound import Bound
from leveret_producer.store.outbox import Confirmed, Lease, OutboxRows
from leveret_producer.store.postgres import DatabaseUnavailable, TryAgain

log = structlog.get_logger(__name__)

GATHER = 0.1  # s
AT_ONCE = 2_000  # rows a statement
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 3.0  # s while the database is away


class Ledger:
    def __init__(self, rows: OutboxRows, bound: Bound) -> None:
        self._bound = bound
        self._rows = rows
        self._confirmed: dict[Confirmed, None] = {}  # in order
        self._released: dict[Lease, float] = {}
        self._something = asyncio.Event()
        self._writing = asyncio.Lock()

    def confirmed(self, job: Envelope, returned: int) -> None:
        self._confirmed[Confirmed(job.id, job.generation, job.attempt, returned)] = None
        self._something.set()

    def released(self, leases: Sequence[Lease], wait_seconds: float = 0) -> None:
        self._released.update(dict.fromkeys(leases, wait_seconds))
        self._something.set()

    async def run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await self._something.wait()
            await asyncio.sleep(GATHER)
            try:
                await self._write()
                pause = FIRST_PAUSE
            except (DatabaseUnavailable, TryAgain) as problem:
                log.warning("what was published can't be noted yet", because=str(problem), jobs=len(self._confirmed))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def close(self, seconds: float) -> None:
        """Write what is left, if the database takes it within so long."""
        with contextlib.suppress(DatabaseUnavailable, TryAgain, TimeoutError):
            async with asyncio.timeout(seconds):
                await self._write()

    async def _write(self) -> None:
        async with self._writing:
            while self._confirmed:
                batch = list(self._confirmed)[:AT_ONCE]
                self._bound.confirmed(await self._rows.mark(batch))
                for one in batch:
                    self._confirmed.pop(one, None)
            while self._released:
                wait = next(iter(self._released.values()))
                leases = [one for one, its_wait in self._released.items() if its_wait == wait][:AT_ONCE]
                await self._rows.release(leases, wait)
                for lease in leases:
                    self._released.pop(lease, None)
            if not self._confirmed:  # else one came while what was released was written
                self._something.clear()
