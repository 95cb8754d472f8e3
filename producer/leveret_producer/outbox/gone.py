"""Which job queues the broker does not have, so that their jobs wait in the outbox until they are there again.

The broker takes a job for a queue that it doesn't have, and the recorder puts it back. To publish it again at once would
send it round and round, with all of that queue's jobs, and take the other queues' jobs their turn. So the queue is
looked for first. One that is there is bound again: somebody has unbound it, or deleted the exchange, with its bindings.
"""

import asyncio
import time
from collections.abc import Iterable

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelClosed, ChannelNotFoundEntity

from leveret import topology

log = structlog.get_logger(__name__)

LOOK_TIMEOUT = 5.0  # s; a queue without a leader does not answer, and is there


class GoneQueues:
    PAUSE = 5.0  # s until it's looked for again

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def names(self) -> list[str]:
        """Return the queues that were not there a moment ago."""
        now = time.monotonic()
        self._until = {queue: until for queue, until in self._until.items() if until > now}
        return list(self._until)

    def has(self, queue: str) -> bool:
        return self._until.get(queue, 0.0) > time.monotonic()

    def note(self, queue: str) -> None:
        if not self.has(queue):
            log.warning("the broker has no such queue; its jobs stay in the outbox", queue=queue)
        self._until[queue] = time.monotonic() + self.PAUSE

    async def look(self, connection: AbstractConnection, queues: Iterable[str]) -> None:
        """Ask the broker for queues whose jobs came back; note those that it doesn't have, and bind the others."""
        for queue in queues:
            try:
                async with asyncio.timeout(LOOK_TIMEOUT), connection.channel() as channel:
                    await (await channel.declare_queue(queue, passive=True)).bind(topology.JOBS, queue)
            except ChannelNotFoundEntity:
                self.note(queue)
            except ChannelClosed as problem:
                log.warning("a queue whose jobs came back may not be bound", queue=queue, because=str(problem))
            except TimeoutError:
                log.debug("a queue does not answer", queue=queue)
