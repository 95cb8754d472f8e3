"""A producer for tests: the real process's parts on a free port, in this process, with its own settings."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

import aio_pika
import httpx
from aio_pika.abc import AbstractIncomingMessage

from leveret import events, topology
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.declare import declare
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database, Places
from leveret_producer.app import create_app
from leveret_producer.health import Health
from leveret_producer.http.server import Server
from leveret_producer.metrics import Metrics
from leveret_producer.settings import Settings

TOKEN = "token of the test"
QUEUE = "leveret.test"


@dataclass(frozen=True)
class Producer:
    http: httpx.AsyncClient
    metrics: Metrics
    health: Health

    async def submit(self, *jobs: object, queue: str = QUEUE) -> httpx.Response:
        body = list(jobs) if len(jobs) != 1 else jobs[0]
        return await self.http.post(f"/v1/queues/{queue}/jobs", json=body)

    async def job(self, id: str) -> dict[str, object]:
        answer = await self.http.get(f"/v1/jobs/{id}")
        answer.raise_for_status()
        found: dict[str, object] = answer.json()
        return found

    async def says(self) -> dict[str, object]:
        found: dict[str, object] = (await self.http.get("/readyz")).json()
        return found


def database_url(place: Database) -> str:
    return f"postgresql://{quote(place.username)}:{quote(place.password)}@{place.host}:{place.port}/{place.dbname}"


def environment_of(broker: Broker, database: Database) -> dict[str, str]:
    """Return where a producer finds what it needs; a process needs ports beside it."""
    return {
        "LEVERET_BROKER_URL": broker.url(),
        "LEVERET_DATABASE_URL": database_url(database),
        "LEVERET_TOKEN": TOKEN,
        **({"LEVERET_INSTALLATION": broker.installation} if broker.installation else {}),
    }


def process_environment(broker: Broker, database: Database, port: int, metrics_port: int) -> dict[str, str]:
    """Return the environment of a `python -m leveret_producer`: ours, and its own settings."""
    ports = {"LEVERET_LISTEN_PORT": str(port), "LEVERET_METRICS_PORT": str(metrics_port)}
    return os.environ | environment_of(broker, database) | ports


@contextlib.asynccontextmanager
async def producing(
    broker: Broker,
    database: Database,
    name: str = "producer-a",
    *,
    outbox_limit: int = 1_000_000,
    without_rights: float = 60.0,
) -> AsyncIterator[Producer]:
    """Run a producer for as long as the context lasts."""
    settings = Settings(
        Places(environment_of(broker, database)), name, outbox_limit=outbox_limit, without_rights_seconds=without_rights
    )
    health, metrics = Health(), Metrics()
    server = Server(create_app(settings, health, metrics), settings, health)
    listener = socket.create_server(("127.0.0.1", 0))  # ours from the start: nobody else can take the port meanwhile
    port = listener.getsockname()[1]
    task = asyncio.create_task(server._serve([listener]))
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
    ) as http:
        await eventually(lambda: server.started or task.done(), "the server is up")
        try:
            yield Producer(http, metrics, health)
        finally:
            await http.aclose()  # else the server waits until nothing can be on its way
            server.should_exit = True
            await task
            listener.close()


async def ready(producer: Producer) -> None:
    async def serving() -> bool:
        return (await producer.http.get("/readyz")).status_code == 200

    await eventually_true(serving, "the producer is ready")


@contextlib.asynccontextmanager
async def operating(
    broker: Broker, *queues: str, version: str = "v1", at: datetime | None = None
) -> AsyncIterator[Publisher]:
    """Do what the operator does for queues: declare them, and tell of them; then hold the connection."""
    async with await open_connection(broker, "test operator") as connection:
        async with connection.channel() as channel:
            await declare(channel, topology.shared())
            for queue in queues:
                await declare(channel, topology.for_queue(queue))
        publisher = await Publisher.open(connection)
        for queue in queues:
            namespace, _, jobqueue = queue.partition(".")
            defined = events.QueueDefined(namespace, jobqueue, at or datetime.now(UTC), version, 5, 30.0)
            await tell(publisher, f"queue.{queue}", defined)
        yield publisher


async def tell(publisher: Publisher, key: str, event: events.Event) -> None:
    message = aio_pika.Message(events.encode(event), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await publisher.publish(topology.EVENTS, key, message)


async def known(producer: Producer, queue: str = QUEUE) -> None:
    """Wait until the producer knows a queue."""

    async def is_known() -> bool:
        return (await producer.http.get(f"/v1/queues/{queue}")).status_code == 200

    await eventually_true(is_known, f"{queue} is known")


async def eventually(probe: Callable[[], bool], what: str, seconds: float = 60) -> None:
    async def asked() -> bool:
        return probe()

    await eventually_true(asked, what, seconds)


async def eventually_true(probe: Callable[[], Awaitable[bool]], what: str, seconds: float = 60) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not await probe():  # noqa: ASYNC110 - what is awaited is in another process
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


async def message_ids(broker: Broker, queue: str) -> list[str]:
    """Take all messages of a queue and return their ids, in order; the queue is empty then."""
    found: list[str] = []
    async with await open_connection(broker, "test look") as connection:
        channel = await connection.channel()
        handle = await channel.get_queue(queue, ensure=False)
        while message := await handle.get(no_ack=True, fail=False):
            found.append(message.message_id or "")
    return found


async def message_taken(broker: Broker, queue: str = QUEUE) -> AbstractIncomingMessage:
    """Wait for a message and take it."""
    async with await open_connection(broker, "test look") as connection:
        handle = await (await connection.channel()).get_queue(queue, ensure=False)
        found: list[AbstractIncomingMessage] = []

        async def there() -> bool:
            message = await handle.get(no_ack=True, fail=False)
            found.extend([message] if message else [])
            return bool(found)

        await eventually_true(there, f"a message is in {queue}", seconds=60)
        return found[0]
