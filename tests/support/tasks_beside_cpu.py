"""How long async tasks wait for their start while cpu tasks compute on all slots, 2 × cores: p95 ≤ 2 × without + 100 ms.

A measurement and no test, for a machine that does nothing else: with PYTHONPATH as for the tests,
`python tests/support/tasks_beside_cpu.py`. It starts RabbitMQ, PostgreSQL, a producer, A's front and the consumers, each a
process of its own, and looks from outside: at A's API, and at the broker's connections for the heartbeats. Ends with 1 if
it is slower, or if a connection was lost.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
from containers import Server, free_port, management, postgres_server, rabbitmq_server
from producers import TOKEN, database_url, eventually_true, operating, process_environment

from leveret.settings import Broker, Database

QUEUES = ("leveret.tasks", "leveret.tasks-cpu", "leveret.tasks-status")
HANDLERS = ("handlers:handlers", "handlers:cpu_handlers", "reports:handlers")
SLOTS = 2 * (os.cpu_count() or 1)
TASKS, EVERY_SECONDS = 200, 0.05
CPU_SECONDS = TASKS * EVERY_SECONDS + 20


@contextlib.contextmanager
def running(*commands: tuple[str, dict[str, str]]) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-m", name], env=environment) for name, environment in commands]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def add(api: httpx.AsyncClient, kind: str, seconds: float) -> str:
    answer = await api.post("/tasks", json={"name": kind, "kind": kind, "seconds": seconds})
    return str(answer.raise_for_status().json()["id"])


async def ended(api: httpx.AsyncClient, ids: list[str], *statuses: str) -> list[dict[str, Any]]:
    async def look() -> bool:
        all_of_them = (await api.get("/tasks", params={"limit": 1_000})).raise_for_status().json()["tasks"]
        found[:] = [task for task in all_of_them if task["id"] in ids]
        return all(task["status"] in statuses for task in found)

    found: list[dict[str, Any]] = []
    await eventually_true(look, f"{len(ids)} tasks are {statuses}", 120)
    return found


async def p95(api: httpx.AsyncClient) -> float:
    """Return the wait, in s, from the answer to a new task to its start, that 95 of 100 tasks don't exceed."""
    ids = []
    for _ in range(TASKS):
        ids.append(await add(api, "async", 0.05))
        await asyncio.sleep(EVERY_SECONDS)
    tasks = await ended(api, ids, "done")
    moments = [[datetime.fromisoformat(task[name]) for name in ("created_at", "started_at")] for task in tasks]
    return sorted((started - created).total_seconds() for created, started in moments)[TASKS * 95 // 100]


def connections(rabbitmq: Server) -> set[tuple[str, int]]:
    listed: Any = management(rabbitmq, "connections")
    return {(one["name"], one["connected_at"]) for one in listed}


async def measure(rabbitmq: Server, postgres: Server, port: int, front_port: int) -> bool:
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{front_port}", timeout=30, trust_env=False) as api,
        operating(Broker("127.0.0.1", rabbitmq.ports[5672], "leveret", "leveret", "/"), *QUEUES),
    ):

        async def first_is_done() -> bool:
            try:
                await ended(api, [await add(api, "async", 0)], "done")
            except httpx.HTTPError:
                return False
            return True

        await eventually_true(first_is_done, "all is up", 120)
        alone, before = await p95(api), connections(rabbitmq)
        computing = [await add(api, "cpu", CPU_SECONDS) for _ in range(SLOTS)]
        await ended(api, computing, "running")
        beside = await p95(api)
        still = [task["status"] for task in await ended(api, computing, "running", "done")].count("running")
        lost = before - connections(rabbitmq)
    print(f"p95 wait: alone {alone * 1000:.0f} ms, beside {still} of {SLOTS} cpu tasks {beside * 1000:.0f} ms")
    print(f"connections lost: {len(lost)}")
    return beside <= 2 * alone + 0.1 and still == SLOTS and not lost


def main() -> None:
    with rabbitmq_server() as rabbitmq, postgres_server() as postgres:
        broker = Broker("127.0.0.1", rabbitmq.ports[5672], "leveret", "leveret", "/")
        database = Database("127.0.0.1", postgres.ports[5432], "leveret", "leveret", "leveret")
        postgres.run("psql", "-q", "-U", "leveret", "-c", "create database a")
        own = httpx.URL(database_url(Database("127.0.0.1", postgres.ports[5432], "leveret", "leveret", "a")))
        port, front_port = free_port(), free_port()
        common = os.environ | {
            "LEVERET_BROKER_URL": broker.url(), "LEVERET_URL": f"http://127.0.0.1:{port}", "LEVERET_TOKEN": TOKEN,
            "LEVERET_TIMEOUT": "5m", "PGHOST": "127.0.0.1", "PGPORT": str(own.port), "PGUSER": own.username,
            "PGPASSWORD": own.password, "PGDATABASE": "a",
        }  # fmt: skip
        subprocess.run([sys.executable, "-m", "examples.tasks.migrate"], env=common, check=True)
        consumers = [
            (
                "leveret_consumer",
                common
                | {
                    "LEVERET_QUEUE": queue,
                    "LEVERET_HANDLERS": f"examples.tasks.{handlers}",
                    "LEVERET_CONCURRENCY": str(SLOTS if "cpu" in queue else 50),
                    "LEVERET_PROBE_PORT": str(free_port()),
                },
            )
            for queue, handlers in zip(QUEUES, HANDLERS, strict=True)
        ]
        producer = ("leveret_producer", process_environment(broker, database, port, free_port()))
        with running(producer, ("examples.tasks.front", common | {"PORT": str(front_port)}), *consumers):
            sys.exit(not asyncio.run(measure(rabbitmq, postgres, port, front_port)))


if __name__ == "__main__":
    main()
