"""A broker that is too old is hung up on before anything is done with it, and everybody says so."""

import asyncio
from datetime import UTC, datetime

import pytest
from aio_pika.abc import AbstractConnection
from containers import Server, management
from old_broker import masked
from producers import QUEUE, eventually, eventually_true, producing, ready

from leveret.rabbitmq.connection import open_connection, stay_connected
from leveret.rabbitmq.version import BrokerTooOld
from leveret.settings import Broker, Database
from leveret_consumer.status import Status
from leveret_operator.announcements import Announcements
from leveret_operator.broker import BrokerLink
from leveret_operator.present_versions import PresentVersions

SAYS = "needs 4.3 or later"


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def exchanges(rabbitmq: Server, broker: Broker) -> set[str]:
    found = management(rabbitmq, f"exchanges/{broker.vhost}")
    assert isinstance(found, list)
    return {each["name"] for each in found if each["name"].startswith("leveret.")}


async def test_the_connection_is_refused_and_the_next_one_may_be_taken(broker: Broker) -> None:
    async with masked(broker) as old:
        with pytest.raises(BrokerTooOld, match=r"the broker is RabbitMQ 3\..*needs 4\.3 or later"):
            await open_connection(old.broker, "too old")
        old.major = None
        async with await open_connection(old.broker, "as it is"):
            pass


async def test_an_operator_declares_nothing_and_goes_on_once_the_broker_is_upgraded(
    broker: Broker, rabbitmq: Server
) -> None:
    link = BrokerLink(
        Announcements("leveret"),
        PresentVersions(),
        heard=lambda signal: None,
        changed=lambda: None,
        clock=lambda: datetime.now(UTC),
        asked=lambda kind: None,
    )
    async with masked(broker) as old:
        task = asyncio.create_task(link.run(lambda: old.broker, "test-operator"))
        await eventually(lambda: link.unfit == "BrokerTooOld", "the operator knows")
        assert SAYS in link.problem
        assert link.session is None
        assert exchanges(rabbitmq, broker) == set()
        old.major = None
        await eventually(lambda: link.session is not None, "the operator is connected", seconds=60)
        assert link.unfit is None
        assert "leveret.jobs" in exchanges(rabbitmq, broker)
        await ended(task)


async def test_a_consumer_is_not_ready_and_says_why(broker: Broker) -> None:
    status, worked = Status(QUEUE), list[str]()

    async def work(connection: AbstractConnection) -> None:
        worked.append("worked")
        await asyncio.Event().wait()

    async with masked(broker) as old:
        task = asyncio.create_task(stay_connected(lambda: old.broker, "test-consumer", work, status))
        await eventually(lambda: SAYS in status.readiness().says, "the consumer says it")
        assert not status.readiness().ready
        assert worked == []
        tried = old.connections
        await eventually(lambda: old.connections > tried, "it is tried again", seconds=30)
        await ended(task)


async def test_a_producer_says_it_and_serves_all_the_same(broker: Broker, database: Database) -> None:
    async with masked(broker) as old, producing(old.broker, database) as producer:
        await ready(producer)

        async def says() -> bool:
            return SAYS in str((await producer.says())["broker"])

        await eventually_true(says, "the producer says it")
        assert (await producer.http.get("/readyz")).status_code == 200
