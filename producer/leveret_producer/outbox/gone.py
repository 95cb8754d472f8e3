"""Which job queues the broker does not have, or is late with, so that their jobs wait in the outbox.

The broker takes a job for a queue that it doesn't have, and the recorder puts it back. To publish it again at once would
send it round and round, with all of that queue's jobs, and take the other queues' jobs their turn. So the queue is
looked for first. One that is there is bound again: somebody has unbound it, or deleted the exchange, with its bindings.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelClosed, ChannelNotFoundEntity

from leveret import topology

log = structlog.get_logger(__name__)

PAUSE = 5.0  # s until it's looked for again
LOOK_TIMEOUT = 5.0  # s; a queue without a leader does not answer, and is there


class GoneQueues:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def names(self) -> list[str]:
        """Return the queues that took nothing a moment ago."""
        now = self._clock()
        self._until = {queue: until for queue, until in self._until.items() if until > now}
        return list(self._until)

    def has(self, queue: str) -> bool:
        return self._until.get(queue, 0.0) > self._clock()

    def note(self, queue: str, because: str = "the broker has no such queue", seconds: float = PAUSE) -> None:
        if not self.has(queue):
            log.warning("a queue's jobs stay in the outbox for now", queue=queue, because=because)
        self._until[queue] = max(self._until.get(queue, 0.0), self._clock() + seconds)

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
