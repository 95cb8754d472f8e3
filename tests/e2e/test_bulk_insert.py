"""bulk-insert in a cluster, driven through its port alone: stops at random moments, kills of what works on it, bad input."""

import asyncio
import os
import random
from collections.abc import Iterator

import httpx
import pytest
from api import Api, eventually
from fronts import asking
from kube import ROOT, Namespace

from chaos.stopped_inserts import Asker, Found, stop_inserts

URL = os.environ.get("LEVERET_E2E_BULK_INSERT_URL", "http://127.0.0.1:18082")
STOPS_OF_MANY = int(os.environ.get("LEVERET_E2E_STOPS_OF_MANY", "30"))  # of 100,000 rows
STOPS_OF_FEW = int(os.environ.get("LEVERET_E2E_STOPS_OF_FEW", "300"))  # of 2,000 rows
SEED = int(os.environ.get("LEVERET_E2E_STOPS_SEED", "20261129"))
MANIFEST = (ROOT / "manifests/examples/bulk-insert.yaml").read_text()
RATE = "{name: BULK_INSERT_ROWS_PER_SECOND, value: inf}"
CONSUMERS = "leveret.dev/jobqueue=bulk-insert"
ask = asking(URL)


def apply(namespace: Namespace, rate: str) -> None:
    """Have two consumers that insert no faster than that."""
    assert RATE in MANIFEST
    changed = MANIFEST.replace(RATE, RATE.replace("inf", f'"{rate}"')).replace("minReplicas: 0", "minReplicas: 2")
    namespace.kubectl("apply", "-f", "-", stdin=changed)

    def consumes() -> bool:
        deployment = namespace.get("deployment", "bulk-insert-consumer")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        rates = [one["value"] for one in container["env"] if one["name"] == "BULK_INSERT_ROWS_PER_SECOND"]
        return rates == [rate] and deployment["status"].get("readyReplicas", 0) >= 2

    eventually(f"two consumers insert at most {rate} rows a second", consumes, 240)
    namespace.kubectl("rollout", "status", "deployment/bulk-insert-consumer", "--timeout=300s")


@pytest.fixture(scope="module")
def service(namespace: Namespace) -> Iterator[Namespace]:
    apply(namespace, "inf")
    for workload in ("statefulset/bulk-insert-database", "deployment/bulk-insert"):
        namespace.kubectl("rollout", "status", workload, "--timeout=300s")
    namespace.kubectl("wait", "--for=condition=Ready", "jobqueue/bulk-insert", "--timeout=300s")
    yield namespace
    namespace.kubectl("apply", "-f", "-", stdin=MANIFEST)


async def stopped(service: Namespace, api: Api, *, stops: int, rows: int, at_once: int, kills: bool) -> Found:
    drawn = random.Random(SEED)

    def delete() -> None:
        if pods := service.pods(CONSUMERS):
            service.kubectl("delete", "pod", drawn.choice(pods), "--grace-period=1", "--wait=false")

    async def kill() -> None:
        await asyncio.to_thread(delete)

    token = {"Authorization": f"Bearer {api.token}"}
    async with (
        httpx.AsyncClient(base_url=URL, timeout=60, trust_env=False) as front,
        httpx.AsyncClient(base_url=api.url, timeout=60, trust_env=False, headers=token) as leveret,
    ):
        return await stop_inserts(
            Asker(front), Asker(leveret), stops=stops, rows=rows, at_once=at_once, seed=SEED,
            kill=kill if kills else None, kill_every=10, share=1 / 3,
        )  # fmt: skip


def is_right(found: Found) -> None:
    assert found.wrong == []
    assert set(found.states) <= {"succeeded", "cancelled"}
    assert found.met * 3 >= found.stops, (found.met, found.states, found.took)


def test_what_people_know_is_there(service: Namespace) -> None:
    ask("GET", "/delete_all")  # of a run before, where the cluster is kept
    done = ask("GET", "/dpd_insert/2500").json()
    assert done == {"id": done["id"], "state": "succeeded", "rows": 2_500}
    accepted = ask("GET", "/insert")
    assert accepted.status_code == 202
    status = f"/status/{accepted.json()['id']}"
    eventually("it has ended", lambda: ask("GET", status).json()["state"] == "succeeded", 120)
    assert ask("GET", status).json()["rows"] == 100_000
    assert ask("GET", "/get_data/count").json() == {"count": 102_500}
    assert len(ask("GET", "/get_data?limit=10000").json()["rows"]) == 10_000
    assert ask("GET", "/delete_all").json() == {"deleted": 102_500}
    assert "/insert/{n}" in ask("GET", "/").json()["message"]
    assert ask("GET", "/docs").is_success


@pytest.mark.parametrize("n", ["0", "1000001", "-1", "x", "1.5"])
def test_no_other_number_of_rows_is_taken(service: Namespace, n: str) -> None:
    answer = ask("GET", f"/insert/{n}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.timeout(600)
async def test_a_stop_of_a_large_insert_leaves_all_rows_or_none(service: Namespace, api: Api) -> None:
    is_right(await stopped(service, api, stops=STOPS_OF_MANY, rows=100_000, at_once=6, kills=False))


@pytest.mark.timeout(900)
async def test_so_does_one_of_a_small_insert_while_consumers_are_killed(service: Namespace, api: Api) -> None:
    apply(service, "1000")
    is_right(await stopped(service, api, stops=STOPS_OF_FEW, rows=2_000, at_once=16, kills=True))
