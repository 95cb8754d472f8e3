"""Write in batches what became of published jobs, keep it until it is written, and keep the leases of what is in hand.

Each statement waits until something has gathered, however steadily confirms come: a transaction of few rows costs what one
of thousands does. What was given back has its turn with every statement of confirms, and waits a few seconds, each job
another time, before anybody takes it.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice

import structlog

from leveret.jobs import Envelope
from leveret_producer.outbox.bound import Bound, Known
from leveret_producer.outbox.leases import Leases
from leveret_producer.store.outbox import Lease, OutboxRows, Publication
from leveret_producer.store.postgres import DatabaseUnavailable, TryAgain

log = structlog.get_logger(__name__)

GATHER = 0.1  # s
AT_ONCE = 2_000  # rows a statement
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 3.0  # s while the database is away
LONGEST_WAIT = 5.0  # s until what was given back is taken again
LOOK_EVERY = 0.5  # s between looks for leases to renew


class Ledger:
    def __init__(
        self,
        rows: OutboxRows,
        bound: Bound,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.leases = Leases()
        self._bound = bound
        self._rows = rows
        self._clock, self._draw = clock, draw
        self._confirmed: dict[Publication, Known] = {}  # in order
        self._released: dict[Lease, float] = {}
        self._something = asyncio.Event()
        self._writing = asyncio.Lock()
        self._renewing = asyncio.Lock()
        self._renewed_at = float("-inf")

    def confirmed(self, job: Envelope, returned: int, known: Known | None = None) -> None:
        """Tell that the broker has a job; `known` is from when it came into the outbox, or else it has just come."""
        self._confirmed[Publication.of(job, returned)] = known or self._bound.known(own=True)
        self._something.set()

    def released(self, leases: Iterable[Lease], longest_wait: float = LONGEST_WAIT) -> None:
        """Give leases back, each after a time up to so long, in seconds."""
        self._released.update(dict.fromkeys(leases, longest_wait))
        if self._released:
            self._something.set()

    async def run(self) -> None:
        """Write and renew for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write_all())
            tasks.create_task(self._renew_all())

    async def renew(self) -> None:
        """See to it that what was old when this was called is renewed, if the database does it."""
        called_at = self._clock()
        async with self._renewing:
            if self._renewed_at >= called_at:  # by another caller meanwhile
                return
            self._renewed_at = self._clock()
            old = list(self.leases.old(self._renewed_at).items())
            for start in range(0, len(old), AT_ONCE):
                asked, asked_at = dict(old[start : start + AT_ONCE]), self._clock()
                try:
                    new = await self._rows.renew(list(asked.values()))
                except (DatabaseUnavailable, TryAgain) as problem:
                    log.debug("leases can't be renewed yet", because=str(problem), jobs=len(old) - start)
                    return
                self.released(self.leases.renewed(asked, new, asked_at))

    async def close(self, seconds: float) -> None:
        """Write what is left, if the database takes it within so long."""
        with contextlib.suppress(DatabaseUnavailable, TryAgain, TimeoutError):
            async with asyncio.timeout(seconds):
                while self._confirmed or self._released:
                    await self._write()

    @contextlib.asynccontextmanager
    async def no_mark(self) -> AsyncIterator[None]:
        """Begin a count: what is seen in this block has all marks of before, and none of later."""
        async with self._writing:
            self._bound.begin_count()
            yield

    async def _write_all(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await self._something.wait()
            if max(len(self._confirmed), len(self._released)) < AT_ONCE:
                await asyncio.sleep(GATHER)
            try:
                await self._write()
                pause = FIRST_PAUSE
            except (DatabaseUnavailable, TryAgain) as problem:
                log.warning("what was published can't be noted yet", because=str(problem), jobs=len(self._confirmed))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _renew_all(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await self.renew()

    async def _write(self) -> None:
        """Write a statement of confirms and one of what was given back, either though the other fails."""
        async with self._writing:
            try:
                await self._mark()
            finally:
                await self._release()
            if not self._confirmed and not self._released:
                self._something.clear()

    async def _mark(self) -> None:
        batch = list(islice(self._confirmed.items(), AT_ONCE))
        if not batch:
            return
        marked = await self._rows.mark([one for one, _ in batch])
        self._bound.confirmed(((one.id, known) for one, known in batch), marked)
        for one, _ in batch:
            self._confirmed.pop(one, None)
        self.leases.let_go(one for one, _ in batch)

    async def _release(self) -> None:
        leases = list(islice(self._released, AT_ONCE))
        if not leases:
            return
        await self._rows.release(leases, [self._draw() * self._released[lease] for lease in leases])
        for lease in leases:
            self._released.pop(lease, None)
