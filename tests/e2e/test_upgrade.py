"""`helm upgrade` from the release before while 200 jobs come each second: no job is lost, stuck or made twice, and who
submits sees no error but 503 with Retry-After.

The release before is the chart that `tests/upgrade` keeps, with images of its wheel. It is installed in a namespace of its
own, without the CRD, which a cluster has once: its operator works with today's. RabbitMQ and PostgreSQL are single nodes, and
start anew in the upgrade where their templates changed; for so long jobs are refused, or accepted and published later.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from api import FINAL, eventually
from kube import CHART, ROOT, Namespace, make_namespace
from release import UPGRADED, front_door

UPGRADE = ROOT / "tests" / "upgrade"
PER_SECOND = 200
PRODUCERS = "app.kubernetes.io/component=producer"
AFTERWARDS = 5.0  # s for which jobs go on to come
HANDLERS = """
import asyncio

from leveret import Context, Handlers

handlers = Handlers()


@handlers.job("double")
async def double(ctx: Context, job: dict[str, int]) -> int:
    await asyncio.sleep(0.02)
    return 2 * job["number"]
"""
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
PSQL = ("psql", "-qAtX", "-U", "leveret", "-d", "leveret", "-c")
ALL_JOBS = """
    SELECT coalesce(json_agg(json_build_array(jobs.id, state, (body::json ->> 'number')::int, result::int,
        (SELECT count(*) FROM attempts WHERE job_id = jobs.id))), '[]')
    FROM jobs JOIN payloads USING (id)
"""
# What releases on one small node ask for must fit, whatever they use.
SMALL = [
    word
    for part in ("operator", "producer", "rabbitmq", "postgresql")
    for word in ("--set", f"{part}.resources.requests.cpu=5m,{part}.resources.requests.memory=64Mi")
]


def jobqueue(image: str) -> dict[str, Any]:
    container = {
        "name": "consumer",
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "PYTHONPATH", "value": "/app:/lab"}],
        "volumeMounts": [{"name": "lab", "mountPath": "/lab"}],
        "resources": {"requests": {"cpu": "5m", "memory": "64Mi"}},
    }
    pod = {"volumes": [{"name": "lab", "configMap": {"name": "lab"}}], "containers": [container]}
    return {
        "apiVersion": "leveret.dev/v1alpha1",
        "kind": "JobQueue",
        "metadata": {"name": "double"},
        "spec": {
            "consumer": {"image": image, "handlers": "lab:handlers", "template": {"spec": pod}},
            "scaling": {"minReplicas": 2, "maxReplicas": 2},
        },
    }


def rolled_out(release: Namespace, name: str, *, applied_by_today: bool = False) -> bool:
    found = release.get("deployment", name)
    status, wanted = found["status"], found["spec"]["replicas"]
    if applied_by_today and "leveret.dev/applied" not in found["metadata"].get("annotations", {}):
        return False
    counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")}
    return status.get("observedGeneration") == found["metadata"]["generation"] and counts == {wanted}


@dataclass(frozen=True)
class Job:
    id: str
    state: str
    number: int
    result: int | None
    attempts: int


@dataclass(frozen=True)
class Loaded:
    """A release and the pod that submits to it."""

    release: Namespace
    queue: str

    def begin(self) -> None:
        token = {"secretKeyRef": {"name": "leveret-token", "key": "token"}}
        container = {
            "name": "load",
            "image": "leveret/examples:0.2.0",
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "/lab/steady_load.py", "http://leveret-producer", self.queue, str(PER_SECOND)],
            "env": [{"name": "TOKEN", "valueFrom": token}],
            "volumeMounts": [{"name": "lab", "mountPath": "/lab"}],
            "securityContext": RESTRICTED,
        }
        volumes = [{"name": "lab", "configMap": {"name": "lab"}}]
        spec = {"containers": [container], "volumes": volumes, "restartPolicy": "Never"}
        self.release.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "load"}, "spec": spec})
        self.release.kubectl("wait", "--for=condition=Ready", "pod/load", "--timeout=120s")

    def end(self) -> dict[str, Any]:
        """Stop it; return what it tells."""
        self.release.kubectl("exec", "load", "--", "touch", "/tmp/stop")
        read = ("exec", "load", "--", "cat", "/tmp/told.json")
        eventually("the load tells", lambda: bool(self.release.kubectl(*read)), 180, 1)
        told: dict[str, Any] = json.loads(self.release.kubectl(*read))
        return told

    def known(self) -> bool:
        with front_door(self.release) as api:
            return bool(api.get(f"/v1/queues/{self.queue}")["name"])

    def jobs(self) -> list[Job]:
        """Return all of them as the database has them: a list of the API has neither payloads nor results."""
        told = self.release.kubectl("exec", "leveret-postgresql-0", "--", *PSQL, ALL_JOBS)
        return [Job(*one) for one in json.loads(told)]


@pytest.fixture
def loaded(namespace: Namespace) -> Iterator[Loaded]:
    """The release before, with consumers of its image, and jobs that come and are done."""
    (chart,) = UPGRADE.glob("leveret-*.tgz")
    older = chart.stem.removeprefix("leveret-")
    release = make_namespace(namespace.context, UPGRADED)
    # Its own tag of PostgreSQL's image is not in this cluster; values stay as they are in the upgrade.
    flags = ["--set", "crds.enabled=false,prometheus.enabled=false,postgresql.image.tag=17-trixie", *SMALL]
    release.helm("install", "leveret", str(chart), *flags, "--wait", "--timeout", "5m")
    files = {"lab.py": HANDLERS, "steady_load.py": (ROOT / "tests/support/steady_load.py").read_text()}
    release.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "lab"}, "data": files})
    release.apply(jobqueue(f"leveret/consumer:{older}"))
    release.kubectl("wait", "--for=condition=Ready", "jobqueue/double", "--timeout=120s")
    eventually("its consumers are ready", lambda: rolled_out(release, "double-consumer"), 120)
    made = Loaded(release, f"{release.name}.double")
    eventually("the API knows the queue", made.known, 120)
    made.begin()
    yield made
    release.kubectl("delete", "namespace", release.name, "--wait=false")


@pytest.mark.timeout(900)
def test_an_upgrade_under_load_loses_nothing_and_refuses_with_retry_after_alone(loaded: Loaded) -> None:
    release = loaded.release
    time.sleep(AFTERWARDS)
    began = time.monotonic()
    release.helm("upgrade", "leveret", str(CHART), "--reuse-values", "--wait", "--timeout", "5m")
    eventually("consumers are today's", lambda: rolled_out(release, "double-consumer", applied_by_today=True), 180)
    eventually("former producers are gone", lambda: len(release.all("pods", PRODUCERS)) == 2, 90)
    took, upgraded_at = time.monotonic() - began, time.time()
    release.apply(jobqueue("leveret/consumer:0.2.0"))  # as an author does who builds the handlers anew
    eventually("and their image", lambda: image_of(release) == "leveret/consumer:0.2.0", 60)
    eventually("is rolled out", lambda: rolled_out(release, "double-consumer"), 180)
    time.sleep(AFTERWARDS)
    told = loaded.end()

    jobs = wait_for_all(loaded)
    accepted = dict(told["accepted"])
    numbers = Counter(job.number for job in jobs)
    lost = set(accepted.values()) - {job.id for job in jobs}
    twice = [number for number in numbers.keys() - set(told["unsure"]) if numbers[number] > 1]
    wrong = [job for job in jobs if job.state != "succeeded" or job.result != 2 * job.number]
    print(
        f"\nupgrade {took:.0f} s; {len(accepted)} jobs accepted in {told['seconds']:.0f} s, "
        f"{len(accepted) / told['seconds']:.0f}/s; answers {told['answers']}; "
        f"lost {len(lost)}, made twice {len(twice)}, not succeeded {len(wrong)}; "
        f"attempted again {sum(job.attempts > 1 for job in jobs)}; sent again without an answer {len(told['unsure'])}"
    )
    print(*(f"{at - upgraded_at:+.1f} s: {what}" for at, what in told["troubles"][:20]), sep="\n")
    assert len(accepted) == told["sent"]
    assert told["sent"] >= PER_SECOND * told["seconds"] / 4, "it came to a load; it is behind while it is refused"
    assert (lost, twice, wrong[:3]) == (set(), [], [])
    # The release before closes connections that it has not used for 5 s, also as a request is on its way.
    assert set(told["answers"]) <= {"202", "503 with Retry-After", "no answer"}
    assert [what for at, what in told["troubles"] if at > upgraded_at] == [], "today's producers answer everything"


def image_of(release: Namespace) -> str:
    pod = release.get("deployment", "double-consumer")["spec"]["template"]["spec"]
    return str(pod["containers"][0]["image"])


def wait_for_all(loaded: Loaded) -> list[Job]:
    """Return all jobs once each has ended."""
    end = time.monotonic() + 120
    while True:
        jobs = loaded.jobs()
        if all(job.state in FINAL for job in jobs):
            return jobs
        assert time.monotonic() < end, f"stuck: {Counter(job.state for job in jobs)}"
        time.sleep(2)
