"""Service A of tasks on a real database, while Leveret is away: its migrations, its API, and every change of status."""

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from containers import free_port
from producers import eventually

from examples.tasks.front import create_app
from examples.tasks.progress import Report, Status, Step
from examples.tasks.store import Left, Store
from leveret.client import AsyncClient, Patience
from leveret.client.outbox import Relay

Start = Callable[..., subprocess.Popen[bytes]]


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
async def api(store: Store, empty: str) -> AsyncIterator[httpx.AsyncClient]:
    """A front whose Leveret is away."""
    nobody = f"http://127.0.0.1:{free_port()}"
    app = create_app(
        lambda: Store(empty),
        lambda: AsyncClient(nobody, "token", patience=Patience(timeout=1)),
        partial(Relay, url=nobody, token="token"),
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


class Leveret:
    """Takes jobs, one for each run of a task, and cancels; or is away, or slow."""

    def __init__(self) -> None:
        self.jobs: dict[str, UUID] = {}
        self.cancelled: list[UUID] = []
        self.away = False
        self.submits = asyncio.Event()
        self.submits.set()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("refused")
        if request.url.path.endswith("/cancel"):
            self.cancelled.append(UUID(request.url.path.split("/")[-2]))
            ended = {"type": "https://leveret.dev/problems/job-finished", "detail": "It has ended."}
            return httpx.Response(409, json=ended)  # which is as good
        sent = json.loads(request.content)
        for one in sent:
            run = f"task-{one['payload']['task']}-{one['payload']['run']}"
            assert self.jobs.setdefault(run, UUID(one["id"])) == UUID(one["id"]), "a run has one job"
        await self.submits.wait()
        return httpx.Response(202, json={"jobs": [{"id": one["id"], "state": "accepted"} for one in sent]})

    def client(self) -> AsyncClient:
        return AsyncClient(
            "http://leveret", "token", transport=httpx.MockTransport(self.answer), patience=Patience(attempts=1)
        )


async def test_the_job_of_a_task_that_is_cancelled_is_cancelled_too(
    store: Store, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leveret = Leveret()
    told = partial(AsyncClient, transport=httpx.MockTransport(leveret.answer))
    monkeypatch.setattr("leveret.client.outbox.relays.AsyncClient", told)
    app = create_app(lambda: Store(empty), leveret.client, partial(Relay, url="http://leveret", token="token"))
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://a") as api:
        first, second, third = [await add(api, name) for name in ("runs", "is submitted as it is cancelled", "away")]

        async def patch(task: dict[str, Any], status: str) -> None:
            (await api.patch(f"/tasks/{task['id']}", json={"status": status})).raise_for_status()

        def job(task: dict[str, Any], run: int = 1) -> UUID | None:
            return leveret.jobs.get(f"task-{task['id']}-{run}")

        await eventually(lambda: all(job(task) for task in (first, second, third)), "they are submitted")
        await store.report(report(first, Step.STARTED))
        await patch(first, "cancelled")
        await eventually(lambda: leveret.cancelled == [job(first)], "its job is cancelled, once")
        leveret.away = True
        await patch(third, "cancelled")
        await patch(third, "new")
        leveret.away = False
        await eventually(lambda: job(third, 2) is not None, "it runs again")
        assert leveret.cancelled == [job(first), job(third)], "before its next run is submitted"
        leveret.submits.clear()
        fourth = await add(api, "slow")
        await eventually(lambda: job(fourth) is not None, "it is being submitted")
        await patch(fourth, "cancelled")
        await eventually(lambda: leveret.cancelled[2:] == [job(fourth)], "it is cancelled, whether it was taken or not")
        leveret.submits.set()
        await patch(second, "cancelled")
        await eventually(lambda: leveret.cancelled[3:] == [job(second)], "so is one that waits")
    rows = await asyncpg.connect(empty)
    assert await rows.fetch("SELECT name FROM tasks WHERE status = 'cancelled' AND job IS NOT NULL") == []
    await rows.close()


@pytest.mark.parametrize(("tries", "left"), [(0, 0), (1, 1)], ids=["no relay had it", "a relay may have sent it"])
async def test_a_task_that_is_cancelled_before_its_job_was_sent_has_none(
    store: Store, empty: str, tries: int, left: int
) -> None:
    task = await store.add(UUID(int=7), "x", "cpu", 0)
    rows: Any = await asyncpg.connect(empty)
    await rows.execute("UPDATE leveret_outbox SET tries = $1", tries)
    job, queue = await rows.fetchrow("SELECT id, queue FROM leveret_outbox")
    assert await store.claim() == [], "it has its job"
    await store.change(task.id, None, Status.CANCELLED)
    assert await rows.fetch("SELECT FROM leveret_outbox") == []
    assert [(one.job, one.queue) for one in await store.claim()] == [(job, queue)] * left
    await rows.close()


async def test_what_an_older_front_left_has_a_job_and_so_has_a_task_that_runs_again(store: Store, empty: str) -> None:
    rows = await asyncpg.connect(empty)
    await rows.execute("INSERT INTO tasks (id, name, kind, seconds) VALUES ($1, 'older', 'async', 0.5)", UUID(int=7))
    for run in (1, 2):
        for _ in range(2):  # and the second of two that took it up adds nothing
            taken = [Left(UUID(int=7), "leveret.tasks", None)]
            assert (await store.claim() or taken) == taken
            await store.cancelled(taken)
        (sent,) = await rows.fetch("SELECT id, queue, type, payload FROM leveret_outbox")
        assert (sent["queue"], sent["type"]) == ("leveret.tasks", "run-task")
        assert json.loads(sent["payload"]) == {"task": str(UUID(int=7)), "run": run, "seconds": 0.5}
        assert await rows.fetchval("SELECT job FROM tasks") == sent["id"]
        await store.change(UUID(int=7), None, Status.CANCELLED)
        await store.change(UUID(int=7), None, Status.NEW)
    await rows.close()
