"""A broker of somebody else: a user with the rights that the page gives, and no others, is enough for all of Leveret's parts."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from containers import Server, management
from operator_link import linked, until
from pages import DOCS, blocks
from producers import eventually_true, known, producing, ready, tell

from leveret import events
from leveret.client.rpc import ConnectionConfig, Rpc, Style
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database
from leveret.signals import Signal
from leveret_operator.broker_statistics import BrokerStatistics, NoStatistics

QUEUE = "leveret.under-test"
PAGE = "\n".join(block.text for block in blocks(DOCS / "how-to/your-own-rabbitmq.md", "sh"))


@pytest.fixture
def guest(rabbitmq: Server, broker: Broker) -> Iterator[Broker]:
    """The user that the page makes, with an installation's id; without its tag."""
    [rights] = re.findall(r"set_permissions -p jobs leveret-jobs '(.*)' '(.*)' '(.*)'", PAGE)
    rabbitmq.run("rabbitmqctl", "-q", "add_user", "leveret-jobs", "x")
    rabbitmq.run("rabbitmqctl", "-q", "set_permissions", "-p", broker.vhost, "leveret-jobs", *rights)
    yield replace(broker, username="leveret-jobs", password="x", installation="of-the-test")
    rabbitmq.run("rabbitmqctl", "-q", "delete_user", "leveret-jobs")


async def test_the_pages_rights_are_enough_for_operator_producer_consumer_and_calls(
    rabbitmq: Server, guest: Broker, database: Database, consumer: Callable[..., Any], witness: Path
) -> None:
    heard: list[Signal] = []
    async with linked(lambda: guest, heard=heard.append) as link, producing(guest, database) as producer:
        await until(lambda: link.session is not None)
        await link.declare(QUEUE)
        runs = consumer(broker_url=guest.url(), installation=guest.installation, version="v1")
        await ready(producer)
        async with await open_connection(guest, "tells of the queue") as connection:
            defined = events.QueueDefined("leveret", "under-test", datetime.now(UTC), "v1", 5, 30.0)
            await tell(await Publisher.open(connection), f"queue.{QUEUE}", defined)
        await known(producer, QUEUE)
        await runs.ready()

        async def ends(type: str, payload: object, state: str) -> str:
            job = (await producer.submit({"type": type, "payload": payload}, queue=QUEUE)).json()["id"]

            async def ended() -> bool:
                return (await producer.job(job))["state"] == state

            await eventually_true(ended, f"{type} is {state}")
            return str(job)

        await ends("noop", {}, "succeeded")
        await ends("fail-slowly", {"witness": str(witness), "times": 1}, "succeeded")  # over a delay level
        dead = await ends("fail", {"witness": str(witness), "times": 9}, "dead")
        redrive = await producer.http.post(f"/v1/queues/{QUEUE}/dead-letters/redrive", json={"ids": [dead]})
        assert redrive.status_code == 202, redrive.text
        stays = await ends("sleep", {"witness": str(witness), "seconds": 60}, "running")
        assert (await producer.http.post(f"/v1/jobs/{stays}/cancel")).status_code == 202

        async def cancelled() -> bool:
            return (await producer.job(stays))["state"] == "cancelled"

        await eventually_true(cancelled, "it is told over the stream")
        for style in Style:
            config = ConnectionConfig(guest.username, guest.password, guest.host, guest.port, guest.vhost)
            name = "" if style is Style.DIRECT else f"leveret.answers-{style}"
            async with await Rpc.connect(config, style, name) as rpc:
                assert (await rpc.call(QUEUE, "noop", {}, 60)).result is None
        await until(lambda: bool(heard))  # heartbeats and hints, of the operator's own queue

        async def hears_the_operator() -> bool:
            bound = management(rabbitmq, f"exchanges/{guest.vhost}/leveret.signals/bindings/source")
            assert isinstance(bound, list)
            return f"jobqueue.{QUEUE}" in {binding["routing_key"] for binding in bound}

        await eventually_true(hears_the_operator, "the consumer has its queue for the present version")


async def test_the_tag_is_for_the_management_api_alone_and_the_metrics_ask_nobody(
    rabbitmq: Server, guest: Broker
) -> None:
    async with aiohttp.ClientSession() as http:

        def statistics(metrics_port: int) -> BrokerStatistics:
            return BrokerStatistics(
                http,
                metrics_port=metrics_port,
                management_port=rabbitmq.ports[15672],
                clock=lambda: datetime.now(UTC),
                asked=lambda kind: None,
            )

        async with linked(lambda: guest) as link:
            await until(lambda: link.session is not None)
            await link.declare(QUEUE)
        with pytest.raises(NoStatistics, match="401"):
            await statistics(1).read(guest)

        async def read_at_the_metrics() -> bool:
            return QUEUE in (await statistics(rabbitmq.ports[15692]).read(guest)).depths

        await eventually_true(read_at_the_metrics, "the broker has numbers of the queue")
        [tag] = re.findall(r"set_user_tags leveret-jobs (\w+)", PAGE)
        rabbitmq.run("rabbitmqctl", "-q", "set_user_tags", "leveret-jobs", tag)
        await statistics(1).read(guest)
