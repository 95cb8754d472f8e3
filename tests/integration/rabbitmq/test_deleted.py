"""Somebody deletes what is Leveret's: whoever publishes there next declares it again, and the message arrives."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from functools import partial

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity
from containers import Server, management
from deletions import Deleted, delete
from producers import eventually_true

from leveret import topology
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.declare import Declared, declare
from leveret.rabbitmq.publisher import Publisher, Unroutable, until_confirmed
from leveret.rabbitmq.signalling import Signalling
from leveret.settings import Broker
from leveret.signals import Heartbeat
from leveret.topology import DEAD, EVENTS, EVENTS_DEAD, JOBS, SIGNALS, UNROUTABLE, Binding, dead_queue

OWN = "leveret.under-test"
BEAT = Heartbeat("pod", OWN, datetime(2026, 9, 1, 12, tzinfo=UTC), 1, 0, 0, 0.0)


@pytest.fixture(scope="module")
def place(rabbitmq: Server) -> Iterator[Broker]:
    """One virtual host for all: what a test deletes is there again at its end."""
    management(rabbitmq, "vhosts/deleted", "PUT", {})
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    management(rabbitmq, "permissions/deleted/leveret", "PUT", everything)
    yield Broker("127.0.0.1", rabbitmq.ports[5672], "leveret", "leveret", "deleted")
    management(rabbitmq, "vhosts/deleted", "DELETE")


@pytest.fixture
async def connection(place: Broker) -> AsyncIterator[AbstractConnection]:
    """A connection to a broker that has one job queue."""
    async with await open_connection(place, "test") as connection:
        async with connection.channel() as channel:
            await declare(channel, topology.shared(), topology.for_queue(OWN))
        yield connection


@pytest.fixture
def declared(connection: AbstractConnection) -> Declared:
    """As a consumer has it."""
    return Declared(connection, topology.shared(), topology.for_dead_letters(OWN))


async def count(connection: AbstractConnection, queue: str) -> int:
    async with connection.channel() as channel:
        return (await channel.declare_queue(queue, passive=True)).declaration_result.message_count or 0


def of_a_level(level: int) -> list[tuple[str, list[Deleted], str, str, list[str]]]:
    name = topology.delay_exchange(level)
    deletions: dict[str, list[Deleted]] = {
        "exchange": [f"exchange {name}"],
        "queue": [f"queue {name}"],
        "binding": [Binding(name, name)],
    }
    return [(f"level {level}'s {what}", those, name, OWN, [name]) for what, those in deletions.items()]


BOUND_DEAD = [Binding(DEAD, dead_queue(OWN), OWN), Binding(DEAD, EVENTS, OWN)]
LETTER = (DEAD, OWN, [dead_queue(OWN), EVENTS])
EVENT = (EVENTS, f"job.{OWN}", [EVENTS])
NO_QUEUE = (JOBS, "leveret.nobodys", [UNROUTABLE])
# What is deleted; the exchange and the key of what is published then; the queues where it arrives.
DELETED: list[tuple[str, list[Deleted], str, str, list[str]]] = [
    *of_a_level(4),
    *of_a_level(12),
    ("leveret.dead", [f"exchange {DEAD}"], *LETTER),
    ("the bindings of leveret.dead", [*BOUND_DEAD], *LETTER),
    ("the dead letters' queue and the other binding", [f"queue {dead_queue(OWN)}", BOUND_DEAD[1]], *LETTER),
    ("the events' queue and the dead letters'", [f"queue {EVENTS}", f"queue {dead_queue(OWN)}"], *LETTER),
    ("leveret.events' exchange", [f"exchange {EVENTS}"], *EVENT),
    ("leveret.events' queue", [f"queue {EVENTS}"], *EVENT),
    ("leveret.events' binding", [Binding(EVENTS, EVENTS, "#")], *EVENT),
    ("leveret.events.dead", [f"queue {EVENTS_DEAD}"], "", EVENTS_DEAD, [EVENTS_DEAD]),
    ("leveret.unroutable's exchange", [f"exchange {UNROUTABLE}"], *NO_QUEUE),
    ("leveret.unroutable's queue", [f"queue {UNROUTABLE}"], *NO_QUEUE),
    ("leveret.unroutable's binding", [Binding(UNROUTABLE, UNROUTABLE)], *NO_QUEUE),
    ("leveret.jobs", [f"exchange {JOBS}"], JOBS, OWN, [UNROUTABLE]),  # its bindings are gone with it
    ("leveret.jobs and leveret.unroutable", [f"exchange {JOBS}", f"exchange {UNROUTABLE}"], JOBS, OWN, [UNROUTABLE]),
]


@pytest.mark.parametrize(
    ("those", "exchange", "key", "arrives"), [one[1:] for one in DELETED], ids=[one[0] for one in DELETED]
)
async def test_what_was_deleted_is_declared_again_and_the_message_arrives(
    connection: AbstractConnection,
    declared: Declared,
    those: list[Deleted],
    exchange: str,
    key: str,
    arrives: list[str],
) -> None:
    publisher = await Publisher.open(connection, declared=declared)
    watch = asyncio.create_task(publisher.closed())
    before = {queue: 0 if f"queue {queue}" in those else await count(connection, queue) for queue in arrives}
    await delete(connection, *those)
    await publisher.publish(exchange, key, aio_pika.Message(b"after"))
    for queue, some in before.items():

        async def all_there(queue: str = queue, wanted: int = some + 1) -> bool:
            return await count(connection, queue) == wanted

        await eventually_true(all_there, f"it is in {queue}, once", 10)
    await asyncio.sleep(0)
    assert not watch.done(), "nobody's session ends for it"
    watch.cancel()


async def test_what_was_unconfirmed_is_published_again_and_nothing_is_lost(
    connection: AbstractConnection, declared: Declared
) -> None:
    publisher = await Publisher.open(connection, declared=declared)
    names = [f"{number}" for number in range(300)]
    publishing = [
        asyncio.create_task(
            until_confirmed(partial(publisher.publish, EVENTS, "job.q", aio_pika.Message(b"", message_id=name)), "")
        )
        for name in names
    ]
    await delete(connection, f"exchange {EVENTS}")
    await asyncio.gather(*publishing)
    found: set[str | None] = set()
    async with connection.channel() as channel:
        queue = await channel.get_queue(EVENTS, ensure=False)
        while message := await queue.get(no_ack=True, fail=False):
            found.add(message.message_id)
    assert set(names) <= found  # and what other tests left there


async def test_a_queue_of_somebody_elses_is_not_declared(connection: AbstractConnection, declared: Declared) -> None:
    publisher = await Publisher.open(connection, declared=declared)
    await publisher.publish("", "answers", aio_pika.Message(b""), mandatory=False)
    with pytest.raises(Unroutable):
        await publisher.publish("", "answers", aio_pika.Message(b""))
    with pytest.raises(ChannelNotFoundEntity):
        await count(connection, "answers")


async def test_signals_go_on_though_their_exchange_was_deleted(
    connection: AbstractConnection, declared: Declared
) -> None:
    signalling = Signalling(declared)
    await signalling.send(BEAT)
    await delete(connection, f"exchange {SIGNALS}")
    heard: list[aio_pika.abc.AbstractIncomingMessage] = []

    async def hear(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        heard.append(message)

    async def bound() -> bool:
        await signalling.send(BEAT)
        try:
            async with connection.channel() as channel:
                await channel.declare_exchange(SIGNALS, passive=True)
        except ChannelNotFoundEntity:
            return False
        return True

    await eventually_true(bound, "it is declared again", 10)
    channel = await connection.channel()
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(SIGNALS, "heartbeat.#")
    await queue.consume(hear, no_ack=True)
    await signalling.send(BEAT)

    async def is_heard() -> bool:
        return bool(heard)

    await eventually_true(is_heard, "a signal arrives", 10)
