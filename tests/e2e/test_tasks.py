"""tasks in a cluster, driven through its port alone: every state, kills of all that works on them, bad input."""

import os
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest
from api import eventually
from fronts import asking
from kube import ROOT, Namespace

URL = os.environ.get("LEVERET_E2E_TASKS_URL", "http://127.0.0.1:18085")
ask = asking(URL)
KILLED = (
    "app.kubernetes.io/name=tasks-database",
    "app.kubernetes.io/name=tasks,app.kubernetes.io/component=front",
    "leveret.dev/jobqueue=tasks",
    "leveret.dev/jobqueue=tasks-cpu",
    "leveret.dev/jobqueue=tasks-status",
)


@pytest.fixture(scope="module")
def service(namespace: Namespace) -> Namespace:
    namespace.apply(ROOT / "manifests/examples/tasks.yaml")
    namespace.kubectl("rollout", "status", "statefulset/tasks-database", "--timeout=300s")
    namespace.kubectl("rollout", "status", "deployment/tasks", "--timeout=300s")
    queues = [f"jobqueue/tasks{end}" for end in ("", "-cpu", "-status", "-cpu-status")]
    namespace.kubectl("wait", "--for=condition=Ready", *queues, "--timeout=300s")
    return namespace


def add(name: str, kind: str, seconds: float) -> dict[str, Any]:
    answer = ask("POST", "/tasks", json={"name": name, "kind": kind, "seconds": seconds})
    assert answer.status_code == 201, answer.text
    task: dict[str, Any] = answer.json()
    return task


def one(task: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = ask("GET", f"/tasks/{task['id']}").json()
    return found


def states(name: str) -> Counter[str]:
    """Count the states of the tasks of a name, page by page."""
    found: Counter[str] = Counter()
    query: dict[str, Any] = {"limit": 50}
    while True:
        page = ask("GET", "/tasks", params=query).json()
        found.update(task["status"] for task in page["tasks"] if task["name"] == name)
        if page["next"] is None:
            return found
        query["before"] = page["next"]


@pytest.mark.timeout(600)
def test_each_tasks_state_is_right_after_kills_of_all_that_works_on_it(service: Namespace) -> None:
    name = f"killed-{uuid4()}"  # a cluster that was kept has the tasks of a run before
    for n in range(160):
        add(name, *(("cpu", 0.2) if n % 8 == 0 else ("async", 1)))
    eventually("it has begun", lambda: states(name)["done"] > 0, 180)
    for selector in KILLED:
        for pod in service.pods(selector)[:1]:
            # Not by force: a database must never run twice on one volume.
            service.kubectl("delete", "pod", pod, "--grace-period=1", "--wait=false")
    eventually("all are done", lambda: states(name) == {"done": 160}, 300)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["async", "cpu"])
def test_a_task_is_cancelled_and_run_again(service: Namespace, kind: str) -> None:
    task = add("cancelled", kind, 2)
    assert ask("PATCH", f"/tasks/{task['id']}", json={"status": "cancelled"}).json()["status"] == "cancelled"
    assert ask("PATCH", f"/tasks/{task['id']}", json={"status": "cancelled"}).status_code == 409
    again = ask("PATCH", f"/tasks/{task['id']}", json={"status": "new", "name": "again"})
    assert (again.json()["status"], again.json()["name"]) == ("new", "again")
    eventually("it is done", lambda: one(task)["status"] == "done", 180)
    done = one(task)
    assert (done["error"], done["started_at"] < done["finished_at"]) == (None, True)
    assert ask("PATCH", f"/tasks/{task['id']}", json={"status": "new"}).status_code == 409


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b'{"name":"x","kind":"gpu","seconds":1}', 422), (b" " * (1 << 20), 413)],
    ids=["half a body", "another kind", "a megabyte"],
)
def test_bad_input_gets_a_problem_document(service: Namespace, body: bytes, status: int) -> None:
    answer = ask("POST", "/tasks", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert ask("GET", "/docs").is_success
