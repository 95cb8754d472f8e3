"""Applications commit orders with a job each, while they, their relays and their database are killed.

Each committed order's job is stored once and published once, and no other job is. The database of the application is a server
of its own. LEVERET_TEST_ORDERS is how many orders each driver commits, LEVERET_TEST_KILLS how often it is killed, and the database.
"""

import asyncio
import contextlib
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from containers import Server, postgres_server
from producers import TOKEN, Producer, eventually_true, known, message_ids, operating, producing, ready

from leveret.client import outbox
from leveret.settings import Broker, Database

ORDERS = int(os.environ.get("LEVERET_TEST_ORDERS", "300"))
APPLICATION = Path(__file__).parents[2] / "support" / "ordering_application.py"
KILLS = int(os.environ.get("LEVERET_TEST_KILLS", "3"))  # of each application and its relay
DRIVERS = ("sqlalchemy", "asyncpg", "psycopg")


@pytest.fixture(scope="module")
def orders_server() -> Iterator[Server]:
    with postgres_server() as server:
        yield server


class Application:
    """One of a driver, and the relay beside it."""

    def __init__(self, dsn: str, driver: str, url: str) -> None:
        self.dsn, self.driver = dsn, driver
        self.commands = {
            "application": (str(APPLICATION), driver),
            "relay": ("-m", "leveret.client.outbox", "relay"),
        }
        self.environment = os.environ | {
            "LEVERET_URL": url,
            "LEVERET_TOKEN": TOKEN,
            "LEVERET_OUTBOX_DATABASE_URL": dsn,
        }
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.killed = Counter[str]()

    async def start(self, part: str) -> None:
        words = self.commands[part]
        self.processes[part] = await asyncio.create_subprocess_exec(
            sys.executable, *words, env=self.environment, stderr=asyncio.subprocess.DEVNULL
        )

    async def kill(self, part: str) -> None:
        self.killed[part] += 1
        assert self.processes[part].returncode is None, f"the {part} ended by itself"
        self.processes[part].kill()
        await self.processes[part].wait()

    def ids(self, query: str) -> set[str]:
        with psycopg.connect(self.dsn) as connection:
            return {str(row[0]) for row in connection.execute(query).fetchall()}  # type: ignore[arg-type]

    async def orders(self) -> set[str]:
        """Return those that are committed; while the database is away that is waited for."""
        found: set[str] = set()

        async def told() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                found.update(await asyncio.to_thread(self.ids, "SELECT job FROM orders"))
                return True
            return False

        await eventually_true(told, "the database answers")
        return found

    async def goes_on(self, more: int) -> None:
        """Wait until so many more orders are committed."""
        wanted = len(await self.orders()) + more

        async def committed() -> bool:
            assert self.processes["application"].returncode is None, "it ended by itself"
            return len(await self.orders()) >= wanted

        await eventually_true(committed, f"orders are committed by {self.driver}, {self.killed}")


async def _stored(producer: Producer, queue: str) -> Counter[str]:
    found, before = Counter[str](), ""
    while before is not None:
        answer = await producer.http.get(f"/v1/jobs?queue={queue}&limit=500{before and f'&before={before}'}")
        found.update(job["id"] for job in answer.json()["jobs"])
        before = answer.json()["next"]
    return found


async def _orders_are_committed(application: Application, kills: int) -> None:
    """Kill an application and its relay again and again, until it has committed enough and was killed that often."""
    await application.start("application")
    await application.start("relay")
    while application.killed.total() < kills or len(await application.orders()) < ORDERS:
        await application.goes_on(random.randint(1, ORDERS // kills))
        victim = "relay" if application.killed.total() % 3 == 1 else "application"
        await application.kill(victim)
        await application.start(victim)
    await application.kill("application")


@pytest.mark.timeout(120 + ORDERS / 10)
async def test_each_committed_orders_job_is_published_once(
    broker: Broker, database: Database, orders_server: Server
) -> None:
    queues = [f"leveret.{driver}" for driver in DRIVERS]
    async with producing(broker, database) as producer, operating(broker, *queues):
        await ready(producer)
        applications = []
        for driver, queue in zip(DRIVERS, queues, strict=True):
            await known(producer, queue)
            orders_server.run("psql", "-q", "-U", "leveret", "-c", f"create database {driver}")
            dsn = f"postgresql://leveret:leveret@127.0.0.1:{orders_server.ports[5432]}/{driver}"
            with psycopg.connect(dsn) as connection:
                connection.execute("CREATE TABLE orders (job uuid PRIMARY KEY)")
                outbox.create(connection)
            applications.append(Application(dsn, driver, str(producer.http.base_url)))
        async with asyncio.TaskGroup() as group:
            going = [group.create_task(_orders_are_committed(one, KILLS)) for one in applications]
            for _ in range(KILLS - 1):
                await asyncio.sleep(random.uniform(1, 5))
                if all(one.done() for one in going):
                    break
                await asyncio.to_thread(orders_server.kill)
                await asyncio.to_thread(orders_server.start)
        for application, queue in zip(applications, queues, strict=True):
            await _each_is_there_once(application, queue, producer, broker)


async def _each_is_there_once(application: Application, queue: str, producer: Producer, broker: Broker) -> None:
    async def is_sent() -> bool:
        return not await asyncio.to_thread(application.ids, "SELECT id FROM leveret_outbox")

    await eventually_true(is_sent, "the outbox is empty", 60 + ORDERS / 20)
    application.processes["relay"].terminate()
    assert await application.processes["relay"].wait() == 0

    async def is_published() -> bool:
        return not (await producer.http.get(f"/v1/jobs?queue={queue}&state=accepted&limit=1")).json()["jobs"]

    await eventually_true(is_published, "all is published", 60 + ORDERS / 20)
    committed = Counter(await application.orders())
    assert committed.total() >= ORDERS
    assert await _stored(producer, queue) == committed
    assert Counter(await message_ids(broker, queue)) == committed
