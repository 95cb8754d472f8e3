"""A rolling update that brings a new type of job, while jobs of it come already: nothing is lost, and nothing is tried twice."""

import time
from collections.abc import Iterator
from secrets import token_hex
from threading import Event, Thread
from typing import Any

import pytest
from api import Api, eventually
from kube import Namespace
from release import producer_metrics

NAME = f"rollout-{token_hex(3)}"  # of its own: what an earlier run has left would be counted
QUEUE = f"leveret.{NAME}"
GIVEN_BACK = f'leveret_given_back_total{{queue="{QUEUE}"}}'
BROUGHT = {"type": "brought", "payload": {}}
OLD = """
from leveret import Context, Handlers

handlers = Handlers()


@handlers.job("known")
async def known(ctx: Context, job: dict[str, object]) -> str:
    return "done"
"""
NEW = (
    OLD
    + """

@handlers.job("brought")
async def brought(ctx: Context, job: dict[str, object]) -> str:
    return "done"
"""
)


def jobqueue(handlers: str) -> dict[str, Any]:
    """One whose handlers are in a ConfigMap: each module is a version."""
    container = {
        "name": "consumer",
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "PYTHONPATH", "value": "/app:/lab"}],
        "volumeMounts": [{"name": "lab", "mountPath": "/lab"}],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
    }
    pod = {"volumes": [{"name": "lab", "configMap": {"name": NAME}}], "containers": [container]}
    consumer = {"image": "leveret/examples:0.2.0", "handlers": handlers, "template": {"spec": pod}}
    return {
        "apiVersion": "leveret.dev/v1alpha1",
        "kind": "JobQueue",
        "metadata": {"name": NAME},
        "spec": {"consumer": consumer, "scaling": {"minReplicas": 4, "maxReplicas": 4}},
    }


@pytest.fixture
def four_old_pods(namespace: Namespace, api: Api) -> Iterator[None]:
    files = {"lab_old.py": OLD, "lab_new.py": NEW}
    namespace.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": files})
    namespace.apply(jobqueue("lab_old:handlers"))
    eventually("four old pods are ready", lambda: updated(namespace) == 4, 180)
    ids = api.submit(QUEUE, [{"type": "known", "payload": {}}])
    assert {job["state"] for job in api.wait_final(QUEUE, ids, 60).values()} == {"succeeded"}
    yield
    namespace.kubectl("delete", f"jobqueue/{NAME}", f"configmap/{NAME}", "--wait=false")


def updated(namespace: Namespace) -> int:
    """How many pods are ready where all are of the newest template."""
    found = namespace.get("deployment", f"{NAME}-consumer")
    status = found["status"]
    current = status.get("observedGeneration") == found["metadata"]["generation"]
    alone = status.get("updatedReplicas") == status.get("replicas")
    return int(status.get("readyReplicas", 0)) if current and alone else 0


def given_back(namespace: Namespace) -> float:
    """How often one was, once all that was told of it has been recorded."""
    before = -1.0
    while before != (now := sum(metrics.get(GIVEN_BACK, 0) for metrics in producer_metrics(namespace).values())):
        before = now
        time.sleep(2)
    return now


def dead_letters(api: Api) -> list[tuple[str, str]]:
    return [(one["id"], one["reason"]) for one in api.get(f"/v1/queues/{QUEUE}/dead-letters")["dead_letters"]]


@pytest.mark.timeout(900)
def test_a_rolling_update_that_brings_a_type_loses_no_job_of_it(
    api: Api, namespace: Namespace, four_old_pods: None
) -> None:
    before = namespace.get("deployment", f"{NAME}-consumer")["metadata"]["generation"]
    namespace.apply(jobqueue("lab_new:handlers"))
    eventually(
        "the update has begun",
        lambda: namespace.get("deployment", f"{NAME}-consumer")["metadata"]["generation"] > before,
        60,
    )
    ids: list[str] = []
    over = Event()

    def trickle() -> None:
        while not over.wait(0.5):
            ids.extend(api.submit(QUEUE, [BROUGHT] * 5))

    came = Thread(target=trickle, daemon=True)
    came.start()
    try:
        took = eventually("four new pods are ready, and no old one is there", lambda: updated(namespace) == 4, 180)
    finally:
        over.set()
        came.join(60)
    jobs = api.wait_final(QUEUE, ids, 60)
    assert {(job["state"], job["attempt"], len(job["attempts"])) for job in jobs.values()} == {("succeeded", 1, 1)}
    assert dead_letters(api) == []
    backs = given_back(namespace)
    print(f"\n{len(ids)} jobs of the new type in {took:.0f} s of the rollout, given back {backs:.0f} times")
    assert backs >= 20

    began = time.monotonic()
    (nobodys,) = api.submit(QUEUE, [{"type": "nobodys", "payload": {}}])
    assert {job["state"] for job in api.wait_final(QUEUE, [nobodys], 15).values()} == {"dead"}
    print(f"a type that nobody knows is called so after {time.monotonic() - began:.1f} s")
    assert dead_letters(api) == [(nobodys, "UnknownType")]
    jobs = api.wait_final(QUEUE, api.submit(QUEUE, [BROUGHT] * 20), 60)
    assert {(job["state"], job["attempt"]) for job in jobs.values()} == {("succeeded", 1)}
    assert given_back(namespace) == backs, "no version but the present one is left"
