"""What is in the stream `leveret.control`, from its beginning on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID

from aio_pika.abc import AbstractIncomingMessage
from producers import eventually

from leveret import control, topology
from leveret.control import Cancel, CancelRule, Control
from leveret.rabbitmq.connection import open_connection
from leveret.settings import Broker


class Stream:
    def __init__(self) -> None:
        self.messages: list[Control] = []

    def named(self, *, in_snapshot: UUID | None = None) -> set[tuple[str, UUID, int]]:
        """Return queues, jobs and generations: of one snapshot, or of what was told beside them."""
        return {
            (command.queue, *job)
            for message in self.messages
            if (message.snapshot.id if message.snapshot else None) == in_snapshot
            for command in message.commands
            if isinstance(command, Cancel)
            for job in control.unpack(command.jobs)
        }

    def rules(self) -> list[CancelRule]:
        return [one for message in self.messages for one in message.commands if isinstance(one, CancelRule)]

    def whole(self) -> list[UUID]:
        """Return the snapshots that are there with all their parts, in order."""
        found: dict[UUID, set[int]] = {}
        whole: list[UUID] = []
        for message in self.messages:
            if message.snapshot:
                parts = found.setdefault(message.snapshot.id, set())
                parts.add(message.snapshot.part)
                if message.snapshot.parts and parts == set(range(message.snapshot.parts)):
                    whole.append(message.snapshot.id)
        return whole


@contextlib.asynccontextmanager
async def reading(broker: Broker) -> AsyncIterator[Stream]:
    stream = Stream()

    async def arrived(message: AbstractIncomingMessage) -> None:
        stream.messages.append(control.decode(message.body))
        await message.ack()

    async with await open_connection(broker, "test reader") as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=10)
        queue = await channel.get_queue(topology.CONTROL, ensure=False)
        tag = await queue.consume(arrived, arguments={"x-stream-offset": "first"})
        yield stream
        if not channel.is_closed:
            await queue.cancel(tag)
        await asyncio.sleep(0)


async def told(stream: Stream, *jobs: tuple[str, UUID, int]) -> None:
    """Wait until these are named beside all snapshots."""
    await eventually(lambda: set(jobs) <= stream.named(), f"{len(jobs)} jobs are named")
