"""Routing keys and names of exchanges that are no text, through every exchange and every kind of queue of ours.

Each message is where the rules want it, its neighbours are handled, and whoever reads there keeps its first connection:
a consumer, of its own jobs and of another queue's dead letters, a producer's three, the operator's inbox and its look.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from containers import Server, management
from producers import Producer, database_url, eventually, eventually_true, known, operating, producing, ready
from raw_messages import ODD_TEXTS, Raw, RawName, connect, header, readable, sized

from leveret import signals, topology, wire
from leveret.events import JobEvent, encode
from leveret.jobs import State
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.declare import declare
from leveret.settings import Broker, Database
from leveret_consumer.dead_letter_source import job_made_of
from leveret_operator.live_depths import LiveDepths
from leveret_operator.signal_inbox import open_inbox
from leveret_producer.dead_letters.sweep import Sweep

QUEUE, OTHER, THIRD = "leveret.under-test", "leveret.other", "leveret.third"
KEYS = list(ODD_TEXTS.values())
FANOUT, TOPIC = (
    b"caf\xe9 ",
    b"#\xff ",
)  # how the exchanges of a foreign client are named; each has one queue behind its name
DEATHS = header(
    b"x-death", b"A", sized(b"F" + sized(header(b"queue", b"S", sized(b"\xe9")) + header(b"\xe9", b"t", b"\1")))
)
NOISE: dict[str, Any] = {
    "app_id": b"\xff",
    "correlation_id": b"caf\xe9",
    "headers": header(b"\xe9", b"S", sized(b"\xff")) + DEATHS,
}


def at() -> datetime:
    return datetime.now(UTC)


class Client:
    """A foreign one: what it publishes goes to all, and none of it is refused."""

    def __init__(self, place: Broker) -> None:
        self._connection = connect(place.host, place.port, place.username, place.password, place.vhost)
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()

    def publish(
        self, exchange: bytes, key: bytes, body: bytes = b'{"value": 1}', type: bytes = b"echo", **more: Any
    ) -> UUID:
        job = uuid4()
        fields = {"message_id": str(job).encode(), "type": type, **NOISE, **more}
        self._channel.basic_publish(RawName(exchange), key, body, Raw(**fields))
        return job

    def publish_all(
        self, exchange: bytes, body: bytes = b'{"value": 1}', type: bytes = b"echo", **more: Any
    ) -> dict[UUID, bytes]:
        """Publish under every odd key; return which message has which."""
        return {self.publish(exchange, key, body, type, **more): key for key in KEYS}

    def close(self) -> None:
        self._connection.close()


async def bind(rabbitmq: Server, vhost: str, prefix: bytes, kind: str, queue: str) -> bytes:
    """Make an exchange whose name is no text, which only the management API does; bind a queue to it, return the name."""
    name = prefix + queue.encode()
    path = "".join(f"%{byte:02X}" for byte in name)
    await asyncio.to_thread(management, rabbitmq, f"exchanges/{vhost}/{path}", "PUT", {"type": kind})
    await asyncio.to_thread(management, rabbitmq, f"bindings/{vhost}/e/{path}/q/{queue}", "POST", {"routing_key": "#"})
    return name


@pytest.fixture
async def client(broker: Broker) -> AsyncIterator[Client]:
    made = await asyncio.to_thread(Client, broker)
    yield made
    await asyncio.to_thread(made.close)


async def row(database: Any, job: UUID) -> tuple[str, str, str | None] | None:
    found = await database.fetchrow("SELECT queue, state, dead_reason FROM jobs WHERE id = $1", job)
    return None if found is None else tuple(found)


async def rows(database: Any, expected: dict[UUID, tuple[str, str, str | None]]) -> None:
    """Wait until the store says this of the jobs."""
    found: dict[UUID, Any] = {}

    async def all_right() -> bool:
        found.update({job: await row(database, job) for job in expected if found.get(job) != expected[job]})
        return found == expected

    try:
        await eventually_true(all_right, "what the store knows", 30)
    except AssertionError:
        assert found == expected


async def taken(connection: AbstractConnection, queue: str, number: int) -> list[AbstractIncomingMessage]:
    """Take so many messages out of a queue."""
    found: list[AbstractIncomingMessage] = []
    channel = await connection.channel()

    async def take(message: AbstractIncomingMessage) -> None:
        found.append(message)

    await (await channel.get_queue(queue, ensure=False)).consume(take, no_ack=True)
    await eventually(lambda: len(found) >= number, f"{number} messages in {queue}", 30)
    return found


def gone(jobs: dict[UUID, bytes]) -> dict[UUID, tuple[str, str, str | None]]:
    """How dead letters are stored for which nobody has a queue."""
    return {job: (readable(key).replace("\0", ""), "dead", "QueueGone") for job, key in jobs.items()}


async def test_what_no_queue_has_is_a_dead_letter_and_what_is_no_event_is_set_aside(
    broker: Broker, database: Database, rabbitmq: Server, client: Client
) -> None:
    with structlog.testing.capture_logs() as logs:
        await _through_a_producer(broker, database, rabbitmq, client)
    assert {one["event"] for one in logs if one["log_level"] != "info"} == {"events are set aside"}


async def _through_a_producer(broker: Broker, database: Database, rabbitmq: Server, client: Client) -> None:
    async with (
        producing(broker, database) as producer,
        operating(broker, QUEUE),
        await open_connection(broker, "look") as look,
        asyncpg.create_pool(database_url(database), min_size=1, max_size=1) as store,
    ):
        await ready(producer)
        await known(producer, QUEUE)
        foreign = [
            await bind(rabbitmq, broker.vhost, prefix, kind, queue)
            for prefix, kind in ((FANOUT, "fanout"), (TOPIC, "topic"))
            for queue in (topology.EVENTS, topology.UNROUTABLE)
        ]
        jobs: dict[UUID, bytes] = {}
        aside: Counter[tuple[str, bytes]] = Counter()
        tells: dict[UUID, tuple[str, str, str | None]] = {}
        for exchange in (topology.JOBS.encode(), topology.UNROUTABLE.encode(), b"leveret.delay.0", b"leveret.delay.1"):
            jobs |= await asyncio.to_thread(client.publish_all, exchange)
        jobs |= await asyncio.to_thread(client.publish_all, topology.JOBS.encode(), b"\xff{", b"")
        for exchange in foreign:
            if exchange.endswith(topology.UNROUTABLE.encode()):
                jobs |= await asyncio.to_thread(client.publish_all, exchange)
            else:
                await asyncio.to_thread(client.publish_all, exchange, b"{")
                aside.update((readable(key), b"{") for key in KEYS)
        await asyncio.to_thread(client.publish_all, topology.EVENTS.encode(), b'"\xff"')
        aside.update((readable(key), b'"\xff"') for key in KEYS)
        for queue in (b"fine", b"caf\xe9"):  # neighbours: events that can be read
            done = JobEvent(uuid4(), "t", State.SUCCEEDED, at(), "pod")
            await asyncio.to_thread(client.publish, topology.EVENTS.encode(), b"job." + queue, encode([done]))
            tells[done.id] = (readable(queue), "succeeded", None)
        own = await bind(rabbitmq, broker.vhost, FANOUT, "fanout", QUEUE)
        for job in await asyncio.to_thread(
            client.publish_all, own, expiration=b"1"
        ):  # the broker makes dead letters of it
            tells[job] = (QUEUE, "dead", "DeadlineExceeded")
        await rows(store, gone(jobs) | tells)
        taken_id = str(done.id).encode()  # another queue's job has it: set aside as it came
        await asyncio.to_thread(client.publish, topology.JOBS.encode(), b"\xe9", b"1", message_id=taken_id)
        aside["?", b"1"] += 1
        found = await taken(look, topology.EVENTS_DEAD, aside.total())
        assert Counter((str(one.headers["leveret-routing-key"]), one.body) for one in found) == aside
        assert (await producer.http.get("/readyz")).json()["says"] == "serving"
        await is_shown(producer, next(iter(jobs)))


async def is_shown(producer: Producer, job: UUID) -> None:
    shown = await producer.job(str(job))
    assert (shown["state"], shown["queue"]) == ("dead", "caf?")
    assert (await producer.http.get("/v1/queues/caf%3F/dead-letters")).status_code in {200, 404}


async def test_a_queue_that_is_bound_elsewhere_runs_what_it_gets_as_its_own(
    rig: Any, consumer: Callable[..., Any], rabbitmq: Server, client: Client
) -> None:
    vhost = rig.broker.vhost
    await declare(await rig.connection.channel(), topology.for_queue(OTHER))
    own = [await bind(rabbitmq, vhost, FANOUT, "fanout", QUEUE), await bind(rabbitmq, vhost, TOPIC, "topic", QUEUE)]
    source = await bind(rabbitmq, vhost, FANOUT, "fanout", topology.dead_queue(OTHER))
    await asyncio.to_thread(client.publish, own[0], b"\xe9")
    async with await open_connection(rig.broker, "operator") as operator:
        assert not await LiveDepths(operator, at, lambda kind: None).is_empty(QUEUE), "GetOk, too"
        one = consumer(
            handlers="examples.bench.handlers:handlers",
            source_queue=topology.dead_queue(OTHER),
            retry='{"maxAttempts":2,"backoff":{"initial":"0s"}}',
        )
        await one.ready()
        fine: list[UUID] = []
        dead: dict[UUID, str] = {}
        for exchange in own:
            fine += await asyncio.to_thread(client.publish_all, exchange)
            fine += await asyncio.to_thread(client.publish_all, exchange, b'{"times": 1}', b"fail")
            dead |= dict.fromkeys(await asyncio.to_thread(client.publish_all, exchange, b"{"), "NotJson")
            dead |= dict.fromkeys(await asyncio.to_thread(client.publish_all, exchange, b"{}", b"\xff"), "UnknownType")
        made = {job_made_of(job, 1, QUEUE) for job in await asyncio.to_thread(client.publish_all, source)}
        fine.append(await rig.submit("echo", {"value": 1}))
        ends = {end.id: end for end in await rig.final(*fine, *dead, *made, seconds=60)}
        assert {str(ends[job].state) for job in (*fine, *made)} == {"succeeded"}
        assert {job: ends[job].error.reason for job in dead} == dead
        await eventually(lambda: len(rig.dead_letters) == len(dead), "the dead letters", 30)
        assert {(UUID(one.message_id), one.routing_key) for one in rig.dead_letters} == {(job, QUEUE) for job in dead}
        assert {one.headers[wire.REASON] for one in rig.dead_letters} == set(dead.values())
        assert await rig.messages(QUEUE, topology.dead_queue(OTHER)) == [0, 0]
        assert len(rig.registered) == 1, "it kept its first connection all along"
        assert not operator.is_closed


async def test_a_sweep_leaves_what_somebody_put_among_the_dead_letters(
    broker: Broker, rabbitmq: Server, client: Client
) -> None:
    async with operating(broker, THIRD), await open_connection(broker, "sweep") as connection:
        foreign = await bind(rabbitmq, broker.vhost, FANOUT, "fanout", topology.dead_queue(THIRD))
        jobs = await asyncio.to_thread(client.publish_all, foreign)
        await asyncio.to_thread(client.publish, topology.DEAD.encode(), THIRD.encode(), b"", b"\xff")

        async def know_nothing(ids: Any) -> dict[UUID, Any]:
            return {}

        told: list[Any] = []

        async def tell(reports: Any) -> None:
            told.extend(reports)

        swept = await Sweep(know_nothing, tell, at, timedelta(days=30)).run(connection, THIRD)
        assert (swept.there, swept.seen, swept.gone) == (len(jobs) + 1, len(jobs) + 1, 0)
        assert [report.queue for report in told] == [THIRD], "whose the others are can't be said"
        assert len(await taken(connection, topology.dead_queue(THIRD), swept.there)) == swept.there


async def test_the_operator_leaves_out_what_is_no_signal(broker: Broker, client: Client, rabbitmq: Server) -> None:
    async with operating(broker), await open_connection(broker, "operator") as connection:
        heard: list[signals.Signal] = []
        await open_inbox(connection, heard.append)
        exchange = topology.SIGNALS.encode()
        for kind in (b"", b"hint.", b"heartbeat."):
            for key in KEYS:
                if len(kind + key) < 256:
                    await asyncio.to_thread(
                        client.publish, exchange, kind + key, b'{"type":"hint","x":' + b"[" * 10_000
                    )
        hint = signals.Hint("producer", QUEUE, at(), 1, 1)
        await asyncio.to_thread(client.publish, exchange, b"hint.caf\xe9", signals.encode(hint))
        await eventually(lambda: bool(heard), "the one that can be read")
        assert heard == [hint]
        assert not connection.is_closed
