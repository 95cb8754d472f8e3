"""The page on uninstalling, and the other order: what stays, who goes on with it, and that nothing is left in the end."""

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from api import eventually
from kube import CHART, FETCHED, ROOT, Namespace, make_namespace, run, tool
from pages import DOCS, blocks
from release import GOES

PAGE = DOCS / "how-to" / "uninstall.md"
NONE = "crds.enabled=false,prometheus.enabled=false,producer.replicas=1"
ASKS = (
    "import json, sys, urllib.request as u\n"
    "token = open('/etc/leveret/token/token').read()\n"
    "request = u.Request('http://127.0.0.1:8080' + sys.argv[1], sys.argv[2].encode() or None)\n"
    "request.add_header('Authorization', 'Bearer ' + token); request.add_header('Content-Type', 'application/json')\n"
    "print(u.urlopen(request).read().decode())"
)


@pytest.fixture
def release(namespace: Namespace) -> Iterator[Namespace]:
    """A release beside the first one, which has the resource, with one consumer that is always there."""
    made = make_namespace(namespace.context, GOES)
    install(made)
    bench = json.loads(made.kubectl("create", "--dry-run=client", "-o", "json", "-f", str(BENCH)))
    bench["spec"]["scaling"] = {"minReplicas": 1, "maxReplicas": 1}
    made.apply(bench)
    yield made
    made.kubectl("delete", "namespace", made.name, "--wait=false")


BENCH = ROOT / "manifests" / "examples" / "bench.yaml"
CONSUMER = "leveret.dev/jobqueue=bench"


def install(release: Namespace) -> None:
    parts = ("operator", "producer", "rabbitmq", "postgresql")
    small = ",".join(f"{part}.resources.requests.cpu=5m" for part in parts)
    volumes = "rabbitmq.persistence.size=1Gi,postgresql.persistence.size=1Gi"
    release.helm("install", "leveret", str(CHART), "--set", f"{NONE},{small},{volumes}", "--wait", "--timeout", "4m")


def ask(release: Namespace, path: str, body: str = "") -> Any:
    return json.loads(release.kubectl("exec", "deploy/leveret-producer", "--", "python", "-c", ASKS, path, body))


def consumer(release: Namespace) -> tuple[str, int, bool]:
    """The one pod: which it is, how often it has started again, and whether it is ready."""
    [pod] = [pod for pod in release.all("pods", CONSUMER) if "deletionTimestamp" not in pod["metadata"]]
    [status] = pod["status"]["containerStatuses"]
    return pod["metadata"]["uid"], status["restartCount"], status["ready"]


@pytest.mark.timeout(600)
def test_both_orders_and_nothing_is_left(release: Namespace) -> None:
    queue = f"/v1/queues/{release.name}.bench"
    eventually("the consumer is ready", lambda: consumer(release)[2], 180)
    eventually("the API knows the queue", lambda: bool(ask(release, queue)), 60)
    job = ask(release, f"{queue}/jobs", '{"type": "echo", "payload": {"value": 7}}')["id"]
    eventually("it has succeeded", lambda: ask(release, f"/v1/jobs/{job}")["state"] == "succeeded", 60)
    uid, starts, _ = consumer(release)

    release.helm("uninstall", "leveret", "--wait")
    eventually("the consumer is not ready", lambda: not consumer(release)[2], 120)
    install(release)
    eventually("the same pod is ready again", lambda: consumer(release) == (uid, starts, True), 120)
    assert ask(release, f"/v1/jobs/{job}")["result"] == 7, "the volume and its password fit"

    script = "set -euo pipefail\n" + "\n".join(block.text for block in blocks(PAGE, "bash"))
    script = script.replace(" -n leveret", f" -n {release.name}")
    environment = os.environ | {"PATH": f"{FETCHED}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

    def left() -> set[str]:
        kinds = "all,jobqueue,pvc,secret,lease,role,rolebinding,serviceaccount"
        return set(release.kubectl("get", kinds, "-o", "name").splitlines())

    eventually("nothing is left", lambda: left() == {"serviceaccount/default"}, 120)


TAKES = [
    pytest.param((), "invalid ownership metadata", id="refused"),
    pytest.param(("--take-ownership",), "", id="taken over"),
    pytest.param(("--set", "crds.enabled=false"), "", id="left to the other"),
]


@pytest.mark.parametrize(("flags", "refused"), TAKES)
def test_a_release_of_another_name_beside_the_kept_resource(
    namespace: Namespace, flags: tuple[str, ...], refused: str
) -> None:
    words = ("install", "jobs", str(CHART), "-n", "jobs", "--dry-run=server", *flags)
    done = run(tool("helm"), "--kube-context", namespace.context, *words, check=False)
    assert (bool(done.returncode), refused in done.stderr) == (bool(refused), True), done.stderr
