"""Two installations on one virtual host: the second takes nothing, says so everywhere, and may take it over."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from containers import Server, management
from operator_link import linked, until
from producers import Producer, eventually_true, known, operating, producing, ready

from leveret.rabbitmq.claim import BrokerShared
from leveret.rabbitmq.connection import open_connection
from leveret.settings import Broker, Database
from leveret_operator.broker import NotDeclared

QUEUE = "leveret.under-test"
JOBS = 1_000
SAYS = "is the installation first's"


@pytest.fixture
def other_database(postgres: Server) -> Iterator[Database]:
    postgres.run("psql", "-q", "-U", "leveret", "-c", "create database second")
    yield Database("127.0.0.1", postgres.ports[5432], "leveret", "leveret", "second")
    postgres.run("psql", "-q", "-U", "leveret", "-c", "drop database second with (force)")


async def ended(producer: Producer, ids: list[str]) -> bool:
    jobs = (await producer.http.post("/v1/jobs/get", json={"ids": ids})).json()["jobs"]
    return len(jobs) == len(ids) and all(job["state"] == "succeeded" for job in jobs)


def exchanges(rabbitmq: Server, broker: Broker) -> dict[str, Any]:
    found = management(rabbitmq, f"exchanges/{broker.vhost}")
    assert isinstance(found, list)
    return {each["name"]: each["arguments"] for each in found if each["name"].startswith("leveret.")}


@pytest.mark.parametrize("lane", ["aio-pika", "own"])
async def test_the_second_installation_takes_nothing_until_it_takes_over(
    broker: Broker,
    rabbitmq: Server,
    database: Database,
    other_database: Database,
    consumer: Callable[..., Any],
    lane: str,
) -> None:
    first, second = (replace(broker, installation=name) for name in ("first", "second"))
    async with contextlib.AsyncExitStack() as one:
        await one.enter_async_context(operating(first, QUEUE))
        producer = await one.enter_async_context(producing(first, database))
        await ready(producer)
        await known(producer, QUEUE)
        worker = consumer(installation="first", lane=lane)
        await worker.ready()

        async with producing(second, other_database, "producer-b") as intruder, linked(lambda: second) as other:
            stranger = consumer(installation="second", lane=lane)
            await until(lambda: other.unfit == "BrokerShared")
            assert SAYS in other.problem
            await stranger.says(lambda ready, says: not ready and SAYS in says)

            async def refuses() -> bool:
                answer = await intruder.http.get("/readyz")
                return answer.status_code == 503 and SAYS in answer.json()["says"]

            await eventually_true(refuses, "the second's producer says it")
            with pytest.raises(NotDeclared, match=SAYS):
                await other.declare("leveret.theirs")

            ids: list[str] = []
            for _ in range(JOBS // 500):
                jobs = [{"type": "noop", "payload": {"number": number}} for number in range(500)]
                answer = await producer.submit(*jobs, queue=QUEUE)
                assert answer.status_code == 202, answer.text
                ids += [job["id"] for job in answer.json()["jobs"]]
            await eventually_true(lambda: ended(producer, ids), "the first's jobs have ended", 120)
            assert await refuses()
            assert (await intruder.http.get("/v1/queues")).json()["queues"] == []
            assert exchanges(rabbitmq, broker)["leveret.installation"] == {
                "alternate-exchange": "leveret.installation.first"
            }

            # The first is gone for good, and somebody does what the page says.
            worker.process.kill()
            await one.aclose()
            management(rabbitmq, f"exchanges/{broker.vhost}/leveret.installation", "DELETE")
            await stranger.ready()
            await ready(intruder)
            await until(lambda: other.session is not None)
            assert other.unfit is None


async def test_one_of_ten_that_come_at_once_has_it_and_keeps_it(broker: Broker) -> None:
    async def tries(name: str) -> str | None:
        try:
            async with await open_connection(replace(broker, installation=name), name):
                return name
        except BrokerShared:
            return None

    names = [f"installation-{number}" for number in range(10)]
    (has_it,) = [name for name in await asyncio.gather(*map(tries, names)) if name]
    assert await tries(has_it) == has_it
    assert await asyncio.gather(*(tries(name) for name in names if name != has_it)) == [None] * 9
    async with await open_connection(broker, "without an id no claim is made"):
        pass


async def test_an_operator_whose_virtual_host_was_taken_over_stops_and_says_so(
    broker: Broker, rabbitmq: Server
) -> None:
    async with linked(lambda: replace(broker, installation="first")) as link:
        await until(lambda: link.session is not None)
        management(rabbitmq, f"exchanges/{broker.vhost}/leveret.installation", "DELETE")
        await until(lambda: "leveret.installation" in exchanges(rabbitmq, broker))
        for _ in range(20):  # against one that claims it again each second
            management(rabbitmq, f"exchanges/{broker.vhost}/leveret.installation", "DELETE")
            with contextlib.suppress(BrokerShared):
                async with await open_connection(replace(broker, installation="second"), "takes over"):
                    break
        await until(lambda: link.unfit == "BrokerShared")
        assert link.session is None


async def test_rights_that_leveret_needs_anyway_suffice(broker: Broker, rabbitmq: Server) -> None:
    only = {"configure": r"^leveret\..*", "write": r"^(leveret\..*|amq\.default)$", "read": r"^leveret\..*"}
    management(rabbitmq, f"permissions/{broker.vhost}/leveret", "PUT", only)
    async with await open_connection(replace(broker, installation="first"), "few rights"):
        pass
