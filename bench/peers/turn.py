"""One turn of one library: a worker that has just started, then the same worker warm, on a virtual host of its own.

Half of the jobs wait when the worker starts. When they have run and it had time to get warm, it is frozen until the other
half waits: nobody publishes while it is measured. In the end each job must have run once and be acknowledged.
"""

import asyncio
import contextlib
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from bench.peers import QUEUE
from bench.peers.figures import Figures, figures, ticks, wrong
from bench.peers.ledger import Ledger
from bench.peers.libraries import APPS, Library, Load
from bench.processes import Failed, launched
from bench.servers import USER
from bench.versions import ROOT
from leveret import topology
from leveret.settings import Broker
from tests.support.containers import Server, management

PATIENCE = 180.0  # s for half of the jobs
LAST_ACKS = 0.5  # s until the processor time is read: what follows a run belongs to it


@dataclass(frozen=True, slots=True)
class Turn:
    rabbitmq: Server
    core: int  # the worker's; the broker's is that of this process
    jobs: int  # of each half
    warm_up: float  # s between the halves

    async def __call__(self, library: Library, load: Load) -> Figures:
        """Raise Failed if a job is lost or runs twice, or the library can't be measured."""
        cold, warm = slice(self.jobs), slice(self.jobs, 2 * self.jobs)
        with tempfile.TemporaryDirectory() as folder, _virtual_host(self.rabbitmq) as broker:
            path = Path(folder, "ledger")
            ledger, environment = Ledger.create(path, 2 * self.jobs), library.environment(broker.url(), path)
            command = ("taskset", "-c", str(self.core), str(library.python), "-m", *library.worker.split())

            async def publish(first: int) -> None:
                words = map(str, (library.adapter, first, self.jobs, load.sleep, load.size))
                command = (str(library.python), "-m", APPS, *words)
                async with launched(f"publishing for {library.name}", command, environment, ROOT) as publisher:
                    await publisher.succeeded(PATIENCE)

            async def first_half() -> bool:
                return 0 not in ledger.counts(cold)

            async def second_half() -> bool:
                return 0 not in ledger.counts(warm)

            await publish(0)
            async with _channel(broker, drain=library.ours) as channel:
                async with launched(library.name, command, environment, ROOT) as worker:
                    await worker.until("the first half of the jobs has run", first_half, PATIENCE)
                    await asyncio.sleep(self.warm_up)
                    with worker.frozen():
                        await publish(self.jobs)
                        before = _cpu_seconds(worker.pid)
                    await worker.until("the second half of the jobs has run", second_half, PATIENCE)
                    await asyncio.sleep(LAST_ACKS)
                    used = _cpu_seconds(worker.pid) - before
                await self._check(broker, channel, ledger)
            return figures(ledger.times(cold), ledger.times(warm), used)

    async def _check(self, broker: Broker, channel: AbstractChannel, ledger: Ledger) -> None:
        said = management(self.rabbitmq, f"queues/{broker.vhost}/{QUEUE}")
        if not isinstance(said, dict) or said.get("type") != "quorum":
            raise Failed(f"the queue must be a quorum queue: {said}")
        for _ in range(200):
            left = (await channel.declare_queue(QUEUE, passive=True)).declaration_result
            if not left.consumer_count:  # the broker has taken back what the ended worker hasn't acknowledged
                break
            await asyncio.sleep(0.05)
        if problem := wrong(ledger.counts(), left.message_count or 0):
            raise Failed(problem)


@contextlib.contextmanager
def _virtual_host(rabbitmq: Server) -> Iterator[Broker]:
    """Make one whose queues are quorum queues, also where a library names no type."""
    name = f"peers-{uuid.uuid4().hex[:8]}"
    management(rabbitmq, f"vhosts/{name}", "PUT", {"default_queue_type": "quorum"})
    try:
        yield Broker("127.0.0.1", rabbitmq.ports[5672], USER, USER, name)
    finally:
        management(rabbitmq, f"vhosts/{name}", "DELETE")


@contextlib.asynccontextmanager
async def _channel(broker: Broker, *, drain: bool) -> AsyncIterator[AbstractChannel]:
    """Open a channel; take away what our worker tells a producer, and do nothing with it."""

    async def forget(message: AbstractIncomingMessage) -> None:
        pass

    async with await aio_pika.connect(broker.url()) as connection:
        channel = await connection.channel(publisher_confirms=False)
        if drain:
            await (await channel.get_queue(topology.EVENTS, ensure=False)).consume(forget, no_ack=True)
        yield channel


def _cpu_seconds(group: int) -> float:
    def stats() -> Iterator[str]:
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                yield path.read_text()

    return ticks(stats(), group) / os.sysconf("SC_CLK_TCK")
