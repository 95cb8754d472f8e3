"""tasks as a system: both services with a real Leveret between them, while all that works on a task is killed."""

import asyncio
import json
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from containers import Server, free_port
from producers import TOKEN, Producer, eventually_true, known, operating, producing, ready
from redrives import dead_letters, redrive

from examples.tasks.progress import Report, Step
from examples.tasks.store import Store
from leveret.settings import Broker, Database

ROOT = Path(__file__).resolve().parents[3]
TASKS, CPU, STATUS, CPU_STATUS = QUEUES = [f"leveret.tasks{end}" for end in ("", "-cpu", "-status", "-cpu-status")]
WORK = (TASKS, CPU)
SPECS = {
    f"leveret.{one['metadata']['name']}": one["spec"]
    for one in yaml.safe_load_all((ROOT / "manifests/examples/tasks.yaml").read_text())
    if one["kind"] == "JobQueue"
}
ONCE = {"maxAttempts": 1, "backoff": {"initial": "0s", "factor": 2, "max": "0s", "jitter": "none"}}
Start = Callable[..., subprocess.Popen[bytes]]


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


async def add(api: httpx.AsyncClient, name: str, kind: str = "async", seconds: float = 0) -> dict[str, Any]:
    answer = await api.post("/tasks", json={"name": name, "kind": kind, "seconds": seconds})
    assert answer.status_code == 201, answer.text
    task: dict[str, Any] = answer.json()
    return task


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


async def test_a_redrive_runs_a_task_again_and_what_is_told_late_or_of_another_run_changes_nothing(
    leveret: Producer, broker: Broker, store: Store, empty: str, start: Start
) -> None:
    url = str(leveret.http.base_url)
    _, api = await front(start, empty, url)
    consumers = Consumers(start, broker, url, empty)
    mended, computed, again, endless, cancelled = [
        (await add(api, name, kind, seconds))["id"]
        for name, kind, seconds in (
            ("mended", "async", 2),
            ("computed", "cpu", 2),
            ("run again", "async", 2),
            ("endless", "async", 3_600),
            ("cancelled", "async", 2),
        )
    ]

    async def jobs() -> list[dict[str, Any]]:
        pages = [await leveret.http.get("/v1/jobs", params={"queue": queue, "limit": 200}) for queue in QUEUES]
        return [job for page in pages for job in page.raise_for_status().json()["jobs"]]

    async def all_are_submitted() -> bool:
        return len(await jobs()) == 5

    await eventually_true(all_are_submitted, "all are submitted")
    assert (await api.patch(f"/tasks/{cancelled}", json={"status": "cancelled"})).is_success
    for queue in QUEUES:
        consumers.start(
            queue, **({"LEVERET_RETRY": json.dumps(ONCE), "LEVERET_TIMEOUT": "1s"} if queue in WORK else {})
        )

    async def row(task: str) -> dict[str, Any]:
        found: dict[str, Any] = (await api.get(f"/tasks/{task}")).raise_for_status().json()
        return found

    async def have(**wanted: int) -> None:
        async def all_have() -> bool:
            return await statuses(api) == Counter(wanted)

        await eventually_true(all_have, f"tasks are {wanted}")

    async def all_have_ended() -> bool:
        return {job["state"] for job in await jobs()} == {"succeeded", "dead", "cancelled"}

    await have(failed=4, cancelled=1)
    await eventually_true(all_have_ended, "all jobs have ended")
    for queue in WORK:
        consumers.kill(queue)
        consumers.start(queue, LEVERET_RETRY=json.dumps(ONCE), LEVERET_TIMEOUT="6s")
    assert (await api.patch(f"/tasks/{again}", json={"status": "new"})).is_success
    await have(failed=3, cancelled=1, done=1)
    before = {task: await row(task) for task in (mended, computed, again, endless, cancelled)}
    letters = {queue: await dead_letters(leveret, queue) for queue in WORK}
    assert sorted(letter["payload"]["task"] for found in letters.values() for letter in found) == sorted(
        before.keys() - {cancelled}
    )

    for queue, found in letters.items():
        await redrive(leveret, queue, *(letter["id"] for letter in found))

    async def runs_again() -> bool:
        seen = await row(endless)
        return (seen["status"], seen["error"], seen["finished_at"]) == ("running", None, None)

    await eventually_true(runs_again, "a task runs again, and says so")
    await have(failed=1, cancelled=1, done=3)
    await eventually_true(all_have_ended, "the runs of the others have ended, too")
    after = {task: await row(task) for task in before}
    for task in (mended, computed, endless):
        assert (
            after[task]["started_at"]
            == before[task]["started_at"]
            < before[task]["finished_at"]
            < after[task]["finished_at"]
        )
    assert after[endless]["error"].startswith("AttemptsExhausted")
    assert (after[cancelled], after[again]) == (before[cancelled], before[again])

    late = [
        Report(task=task, run=1, generation=1, attempt=attempt, step=step, error="late").model_dump(mode="json")
        for task in after for attempt in (1, 9) for step in Step
    ]  # fmt: skip
    answer = await leveret.submit(*({"type": "task-status", "payload": report} for report in late), queue=STATUS)
    assert answer.status_code == 202, answer.text
    await eventually_true(all_have_ended, "all jobs have ended")
    assert {task: await row(task) for task in after} == after
    await api.aclose()
