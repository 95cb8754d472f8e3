"""Ask for jobs to be cancelled, over AMQP: whoever calls has the broker at hand, and neither HTTP nor a token.

It has a channel of its own. A user without the right to write to `leveret.events` loses that channel, and no call in flight.
"""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import DeliveryError
from aiormq.exceptions import ChannelClosed

from leveret import events, topology
from leveret.client.rpc.errors import CallError, DeadlineExceeded, Published, Refused
from leveret.client.rpc.messages import check_name
from leveret.ending import end
from leveret.rabbitmq.connection import BrokerErrors
from leveret.rabbitmq.publisher import NotConfirmed, Publisher, persistent_json

TIMEOUT = 30.0  # s
PAUSE = 0.5  # s after a try that a connection's end cut off

log = structlog.get_logger(__name__)


class Cancels:
    def __init__(self) -> None:
        self._connected, self._opening = asyncio.Event(), asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._publisher: Publisher | None = None
        self._of_given_up: set[asyncio.Task[None]] = set()

    def begin(self, connection: AbstractConnection) -> None:
        """Publish over this connection from now on, until the next one, or `pause`."""
        self._connection, self._publisher = connection, None
        self._connected.set()

    def pause(self) -> None:
        self._connected.clear()

    async def ask(self, queue: str, job: UUID, timeout: float = TIMEOUT) -> None:
        """Return once the broker has it; raise Refused, DeadlineExceeded, ValueError for what is no queue's name."""
        key = f"cancel.{queue}"
        check_name(key, "`cancel.` and the queue")
        body = events.encode(events.CancelRequested(job, at=datetime.now(UTC)))
        try:
            async with asyncio.timeout(timeout):
                while not await self._published(key, body, job):  # noqa: ASYNC110 - it is tried again
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            because = f"The broker did not take the cancel within {timeout:g} s: cancel again"
            raise DeadlineExceeded(because, Published.CONFIRMED, job) from None

    def ask_later(self, queue: str, job: UUID) -> None:
        """Do so beside a caller who waits for nothing any more; what keeps it from being done goes to the log."""
        task = asyncio.create_task(self._logged(queue, job))
        self._of_given_up.add(task)
        task.add_done_callback(self._of_given_up.discard)

    async def close(self, within: float) -> None:
        if self._of_given_up:
            await asyncio.wait(self._of_given_up, timeout=within)
        await end(self._of_given_up)

    async def _logged(self, queue: str, job: UUID) -> None:
        try:
            await self.ask(queue, job)
        except (CallError, ValueError) as problem:
            log.warning("the job of a call that was given up could not be cancelled", job=job, because=str(problem))

    async def _published(self, key: str, body: bytes, job: UUID) -> bool:
        await self._connected.wait()
        try:
            publisher = await self._open()
            await publisher.publish(topology.EVENTS, key, persistent_json(body))
        except (NotConfirmed, *BrokerErrors, RuntimeError) as problem:  # the last is what a closed connection raises
            if isinstance(problem.__cause__, (DeliveryError, ChannelClosed)):
                because = f"The broker does not take the cancel: {problem}"
                raise Refused(because, Published.CONFIRMED, job) from None
            return False
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            return False  # the client library's way to say that the connection was closed
        return True

    async def _open(self) -> Publisher:
        async with self._opening:
            assert self._connection is not None
            if self._publisher is None or self._publisher.is_closed:
                channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                self._publisher = Publisher(channel)
            return self._publisher
