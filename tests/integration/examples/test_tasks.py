"""tasks as a system: its API on a real database, and both services with a real Leveret between them, under kills."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
import yaml
from containers import Server, free_port, postgres_server
from producers import TOKEN, Producer, database_url, eventually_true, known, operating, producing, ready

from examples.tasks.front import create_app
from examples.tasks.progress import Report, Step
from examples.tasks.store import Store
from leveret.client import AsyncClient, Patience
from leveret.settings import Broker, Database

ROOT = Path(__file__).resolve().parents[3]
TASKS, CPU, STATUS, CPU_STATUS = QUEUES = [f"leveret.tasks{end}" for end in ("", "-cpu", "-status", "-cpu-status")]
SPECS = {
    f"leveret.{one['metadata']['name']}": one["spec"]
    for one in yaml.safe_load_all((ROOT / "manifests/examples/tasks.yaml").read_text())
    if one["kind"] == "JobQueue"
}
ONCE = {"maxAttempts": 1, "backoff": {"initial": "0s", "factor": 2, "max": "0s", "jitter": "none"}}
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """Service A's database server: another one than Leveret's, so that it can be away alone."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def empty(own: Server) -> Iterator[str]:
    """The URL of an empty database."""
    name = f"a{free_port()}"
    own.run("psql", "-q", "-U", "leveret", "-c", f"create database {name}")
    yield database_url(Database("127.0.0.1", own.ports[5432], "leveret", "leveret", name))
    own.run("psql", "-q", "-U", "leveret", "-c", f"drop database {name} with (force)")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a module as a process with its variables; it is killed when the test ends."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(module: str, **variables: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **variables}
        with (tmp_path / f"{len(started)}.log").open("wb") as log:
            command = [sys.executable, "-m", module]
            started.append(subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def migrated(start: Start, url: str, times: int = 1) -> None:
    processes = [start("examples.tasks.migrate", DATABASE_URL=url) for _ in range(times)]
    assert [process.wait(60) for process in processes] == [0] * times


async def test_however_many_migrate_at_once_one_does_it(empty: str, start: Start, tmp_path: Path) -> None:
    await asyncio.to_thread(migrated, start, empty, 4)
    said = Counter(path.read_text().splitlines()[-1] for path in tmp_path.glob("*.log"))
    assert said == {"the tables are migrated": 1, "the tables are as they should be": 3}
    connection = await asyncpg.connect(empty)
    assert await connection.fetchval("SELECT count(*) FROM tasks") == 0
    await connection.execute("UPDATE alembic_version SET version_num = 'of a newer version'")
    await connection.close()
    await asyncio.to_thread(migrated, start, empty)


@pytest.fixture
async def store(empty: str, start: Start) -> AsyncIterator[Store]:
    await asyncio.to_thread(migrated, start, empty)
    store = Store(empty)
    yield store
    await store.close()


@pytest.fixture
async def api(store: Store, empty: str) -> AsyncIterator[httpx.AsyncClient]:
    """A front whose Leveret is away."""
    nobody = f"http://127.0.0.1:{free_port()}"
    app = create_app(
        lambda: Store(empty), lambda: AsyncClient(nobody, "token", patience=Patience(timeout=1)), "leveret.tasks"
    )
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        yield client


async def add(api: httpx.AsyncClient, name: str, kind: str = "async", seconds: float = 0) -> dict[str, Any]:
    answer = await api.post("/tasks", json={"name": name, "kind": kind, "seconds": seconds})
    assert answer.status_code == 201, answer.text
    task: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/tasks/{task['id']}"
    return task


def report(task: dict[str, Any], step: Step, run: int = 1, **more: Any) -> Report:
    return Report(task=UUID(task["id"]), run=run, generation=1, attempt=1, step=step, **more)


async def test_a_task_is_added_read_and_listed_while_leveret_is_away(api: httpx.AsyncClient, store: Store) -> None:
    names = ["x" * 200, "ä\U0001f407", " ", "'; DROP TABLE tasks", "last"]
    added = [await add(api, name, kind, 0.5) for name, kind in zip(names, ["async", "cpu"] * 3, strict=False)]
    assert set(added[0]) == {
        "id", "name", "kind", "seconds", "status", "error", "created_at", "started_at", "finished_at",
    }  # fmt: skip
    assert [(one["name"], one["seconds"], one["status"], one["error"]) for one in added] == [
        (name, 0.5, "new", None) for name in names
    ]
    assert (await api.get(f"/tasks/{added[1]['id']}")).json() == added[1]
    assert (await api.get(f"/tasks/{uuid4()}")).status_code == 404

    async def paged(**query: Any) -> list[str]:
        found: list[str] = []
        while True:
            page = (await api.get("/tasks", params=query)).raise_for_status().json()
            found += [one["name"] for one in page["tasks"]]
            assert len(page["tasks"]) <= query["limit"]
            if page["next"] is None:
                return found
            query["before"] = page["next"]

    assert [await paged(limit=limit) for limit in (1, 2, 5, 1_000)] == [names[::-1]] * 4
    await store.report(report(added[2], Step.DONE))
    assert (await paged(limit=2, status="new"), await paged(limit=2, status="done")) == (
        [name for name in names[::-1] if name != " "],
        [" "],
    )


CHANGES = [
    pytest.param("new", "cancelled", 200, id="cancel one that waits"),
    pytest.param("running", "cancelled", 200, id="cancel one that runs"),
    pytest.param("failed", "new", 200, id="run one that failed again"),
    pytest.param("cancelled", "new", 200, id="run one that was cancelled again"),
    *[pytest.param(now, "cancelled", 409, id=f"cancel one that is {now}") for now in ("done", "failed", "cancelled")],
    *[pytest.param(now, "new", 409, id=f"run one that is {now}") for now in ("new", "running", "done")],
    *[pytest.param("new", wanted, 409, id=f"set it to {wanted}") for wanted in ("running", "done", "failed")],
]
REACHED = {"running": Step.STARTED, "done": Step.DONE, "failed": Step.DEAD}


async def test_every_change_of_status_is_made_or_refused_and_reports_of_before_say_nothing(
    api: httpx.AsyncClient, store: Store
) -> None:
    for now, wanted, status, title in ((*change.values, change.id) for change in CHANGES):
        task = await add(api, title or "")
        if now in REACHED:
            assert await store.report(report(task, REACHED[now], error="it was"))
        elif now == "cancelled":
            await api.patch(f"/tasks/{task['id']}", json={"status": "cancelled"})
        before = (await api.get(f"/tasks/{task['id']}")).json()
        assert before["status"] == now
        answer = await api.patch(f"/tasks/{task['id']}", json={"status": wanted, "name": "renamed"})
        after = (await api.get(f"/tasks/{task['id']}")).json()
        assert answer.status_code == status, title
        if status == 409:
            assert answer.json()["task_status"] == now
            assert after == before, "a change is made whole or not at all"
            continue
        assert answer.json() == after
        assert (after["status"], after["name"], after["finished_at"] is None) == (wanted, "renamed", wanted == "new")
        assert await store.report(report(task, Step.DONE))
        assert (await api.get(f"/tasks/{task['id']}")).json() == after, (
            "of the run before, or of one that was cancelled"
        )
    assert (await api.patch(f"/tasks/{task['id']}", json={"name": "y"})).json()["name"] == "y", "of any status"
    assert (await api.patch(f"/tasks/{uuid4()}", json={"name": "y"})).status_code == 404
    assert not await store.report(report({"id": str(uuid4())}, Step.DONE))


@pytest.fixture
async def leveret(broker: Broker, database: Database) -> AsyncIterator[Producer]:
    async with operating(broker, *QUEUES), producing(broker, database) as producer:
        await ready(producer)
        for queue in QUEUES:
            await known(producer, queue)
        yield producer


async def front(start: Start, database: str, leveret_url: str) -> tuple[subprocess.Popen[bytes], httpx.AsyncClient]:
    port = free_port()
    process = start(
        "examples.tasks.front", DATABASE_URL=database, PORT=str(port), LEVERET_URL=leveret_url, LEVERET_TOKEN=TOKEN
    )
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)

    async def answers() -> bool:
        try:
            return (await client.get("/readyz")).is_success
        except httpx.TransportError:
            return False

    await eventually_true(answers, "the front answers")
    return process, client


class Consumers:
    """One of each JobQueue, as the manifest has them, but that an attempt has a minute."""

    def __init__(self, start: Start, broker: Broker, leveret_url: str, database: str) -> None:
        self._start, self._running = start, dict[str, subprocess.Popen[bytes]]()
        where = httpx.URL(database)
        self._common = {
            "LEVERET_BROKER_URL": broker.url(), "LEVERET_URL": leveret_url, "LEVERET_TOKEN": TOKEN,
            "LEVERET_TIMEOUT": "1m", "LEVERET_CONCURRENCY": "8",
            "PGHOST": where.host, "PGPORT": str(where.port), "PGDATABASE": where.path[1:], "PGUSER": where.username,
            "PGPASSWORD": where.password,
        }  # fmt: skip

    def start(self, queue: str, **changed: str) -> None:
        of = {STATUS: TASKS, CPU_STATUS: CPU}.get(queue)
        mine = {
            "LEVERET_QUEUE": queue,
            "LEVERET_HANDLERS": SPECS[queue]["consumer"]["handlers"],
            "LEVERET_RETRY": json.dumps(SPECS[queue]["retry"]),
            "LEVERET_PROBE_PORT": str(free_port()),
        }
        source = {"LEVERET_SOURCE_QUEUE": f"{of}.dead"} if of else {}
        self._running[queue] = self._start("leveret_consumer", **self._common | mine | source | changed)

    def kill(self, queue: str) -> None:
        self._running[queue].send_signal(signal.SIGKILL)


async def statuses(api: httpx.AsyncClient) -> Counter[str]:
    answer = await api.get("/tasks", params={"limit": 1_000})
    return Counter(task["status"] for task in answer.json()["tasks"]) if answer.is_success else Counter()


async def test_while_the_database_is_away_and_all_are_killed_each_tasks_state_is_right_afterwards(
    leveret: Producer, broker: Broker, store: Store, empty: str, own: Server, start: Start
) -> None:
    doomed, first = await front(start, empty, "http://127.0.0.1:1")  # its submits get nowhere
    left = [await add(first, f"left {n}") for n in range(10)]
    doomed.send_signal(signal.SIGKILL)
    await first.aclose()
    url = str(leveret.http.base_url)
    (killed, other), (_, api) = await asyncio.gather(*(front(start, empty, url) for _ in range(2)))
    await asyncio.gather(
        *(add(api, f"{n}", "async", 0.5) for n in range(70)), *(add(api, f"{n}", "cpu", 0.1) for n in range(18))
    )
    again = await add(api, "cancelled, and run again", "cpu")
    await api.patch(f"/tasks/{again['id']}", json={"status": "cancelled"})
    cancelled = await add(api, "cancelled", "cpu")
    await api.patch(f"/tasks/{cancelled['id']}", json={"status": "cancelled"})
    assert (await api.patch(f"/tasks/{again['id']}", json={"status": "new"})).json()["status"] == "new"

    consumers = Consumers(start, broker, url, empty)
    for queue in QUEUES:
        consumers.start(queue)

    async def some_are_done() -> bool:
        return (await statuses(api))["done"] >= 5

    await eventually_true(some_are_done, "some are done")
    own.kill()
    for queue in (TASKS, CPU, STATUS):
        consumers.kill(queue)
        consumers.start(queue)
    killed.kill()
    await asyncio.sleep(5)
    answer = await api.get("/tasks")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    own.start()

    async def all_are_right() -> bool:
        return await statuses(api) == wanted

    wanted = Counter(done=99, cancelled=1)
    await eventually_true(all_are_right, "every task has ended", 120)
    done = (await api.get(f"/tasks/{left[0]['id']}")).json()
    assert (done["status"], done["error"]) == ("done", None)
    jobs = (await leveret.http.get("/v1/jobs", params={"queue": TASKS, "limit": 200})).json()["jobs"]
    assert len(jobs) == 10 + 70, "nothing was submitted twice"

    for queue in (TASKS, CPU):  # an attempt that is killed tells nothing; of the last one the dead letter does
        consumers.kill(queue)
        consumers.start(queue, LEVERET_TIMEOUT="1s", LEVERET_RETRY=json.dumps(ONCE))
    endless = [await add(api, "endless", kind, 3_600) for kind in ("async", "cpu")]
    wanted["failed"] = 2
    await eventually_true(all_are_right, "the dead letters are told")
    for task in endless:
        failed = (await api.get(f"/tasks/{task['id']}")).json()
        assert failed["error"].startswith("AttemptsExhausted")
        assert failed["created_at"] < failed["started_at"] < failed["finished_at"]
    await asyncio.gather(other.aclose(), api.aclose())
