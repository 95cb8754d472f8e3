"""The run's own queue on the broker: it gets every event and every dead letter of the run's JobQueues.

It is durable and read all along, acknowledged after it was written to a file, so that nothing of it is lost with a
connection. What comes twice is the same report twice and counts once.
"""

import asyncio
import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from chaos.evidence import FINAL, End, Run, Witnessed
from chaos.jobs import abridged

BROKER_ERRORS = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, RuntimeError, StopAsyncIteration)
CONNECT_SECONDS = 10.0
PAUSE_SECONDS = 1.0
UNREAD = 500  # messages


@dataclass(slots=True)
class WitnessQueue:
    url: str
    name: str
    queues: Collection[str]  # the job queues that it watches
    journal: Path
    jobs: dict[str, Witnessed] = field(default_factory=lambda: defaultdict(Witnessed))
    last_end_at: float = 0.0  # when an end came that is the first of its job
    gaps: list[tuple[float, float]] = field(default_factory=list)  # times between two first ends, those above a second
    final: set[str] = field(default_factory=set)

    def of(self, job_id: str) -> Witnessed:
        return self.jobs.get(job_id) or Witnessed()

    async def declare(self) -> None:
        """Make the queue anew, without what an earlier run left in it, and bind it; raise one of BROKER_ERRORS."""
        connection = await connect(self.url, "chaos witness")
        async with connection:
            await (await connection.channel()).queue_delete(self.name)
            await self._declare(connection)

    async def remove(self) -> None:
        connection = await connect(self.url, "chaos witness")
        async with connection:
            channel = await connection.channel()
            for name in (self.name, *self.queues, *(f"{queue}.dead" for queue in self.queues)):
                await channel.queue_delete(name)

    async def read(self) -> None:
        """Take what comes until cancelled, over as many connections as that needs."""
        with self.journal.open("a") as journal:
            while True:
                with contextlib.suppress(*BROKER_ERRORS):
                    connection = await connect(self.url, "chaos witness")
                    async with connection:
                        queue = await self._declare(connection)
                        async with queue.iterator() as messages:
                            async for message in messages:
                                self._take(message, journal)
                                await message.ack()
                await asyncio.sleep(PAUSE_SECONDS)

    async def _declare(self, connection: aio_pika.abc.AbstractConnection) -> AbstractQueue:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=UNREAD)
        queue = await channel.declare_queue(
            self.name, durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": -1}
        )
        for one in self.queues:
            await queue.bind("leveret.events", f"job.{one}")
            await queue.bind("leveret.dead", one)
        return queue

    def _take(self, message: AbstractIncomingMessage, journal: Any) -> None:
        now = time.time()
        if message.exchange == "leveret.dead":
            reason = message.headers.get("leveret-reason")
            journal.write(json.dumps({"at": now, "dead_letter": message.message_id, "reason": str(reason)}) + "\n")
            generation = message.headers.get("leveret-generation")
            self._ended(
                message.message_id or "", End(generation if isinstance(generation, int) else 1, "dead", None, now)
            )
            return
        for event in json.loads(message.body):
            if "result" in event:
                event["result"] = abridged(event["result"])
            journal.write(json.dumps({"at": now, "event": event}) + "\n")
            self._told(event, now)

    def _told(self, event: dict[str, Any], now: float) -> None:
        run = run_of(event, event.get("started_at"))
        if run is not None:
            self.jobs[event["id"]].runs.add(run)
        if event["state"] in FINAL:
            self._ended(event["id"], End(event.get("generation", 1), event["state"], event.get("result"), now, run))

    def _ended(self, job: str, end: End) -> None:
        self.jobs[job].ends.append(end)
        if job in self.final:
            return
        self.final.add(job)
        if self.last_end_at and end.at - self.last_end_at > 1.0:
            self.gaps.append((self.last_end_at, end.at))
        self.last_end_at = end.at


def run_of(told: dict[str, Any], started_at: str | None) -> Run | None:
    """Return the run that an event or a row is about, None if nothing ran."""
    if started_at is None:
        return None
    return Run(
        told.get("generation", 1),
        told.get("attempt", 1),
        told.get("delivery", 0),
        told["consumer"],
        seconds(started_at),
    )


def seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


async def connect(url: str, name: str) -> aio_pika.abc.AbstractConnection:
    """Connect once; raise one of BROKER_ERRORS."""
    connection = aio_pika.Connection(
        aio_pika.connection.make_url(url, heartbeat=20), client_properties={"connection_name": name}
    )
    try:
        await connection.connect(timeout=CONNECT_SECONDS)
    except asyncio.CancelledError as problem:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ConnectionResetError("the broker hung up while the connection was made") from problem
    finally:
        if not connection.connected.is_set():
            await connection.close()
    return connection
