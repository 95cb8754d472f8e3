"""The chart's release in the test cluster, and what every test against it needs."""

import contextlib
import os
import subprocess
from base64 import b64decode
from collections.abc import Iterator

from api import Api, eventually
from containers import free_port
from kube import CHART, ROOT, Namespace, make_namespace

CONTEXT = os.environ.get("LEVERET_E2E_CONTEXT", "kind-leveret-test")
URL = os.environ.get("LEVERET_E2E_URL", "http://127.0.0.1:18080")
AMQP_PORT = int(os.environ.get("LEVERET_E2E_AMQP_PORT", "35672"))
READ_METRICS = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9000/metrics').read().decode())"
# Where test_start_order has releases, and so JobQueues, of its own.
BESIDE = ("order-broker", "order-database", "order-both")
SHARES = "second-installation"  # and test_two_installations, one
FOUGHT = "one-operator"  # where test_second_operator has its own
UPGRADED = "upgrade-under-load"  # and test_upgrade, one
GOES = "goes-again"  # as has test_uninstall
WORKLOADS = (
    "statefulset/leveret-rabbitmq",
    "statefulset/leveret-postgresql",
    "deployment/leveret-producer",
    "deployment/leveret-operator",
    "deployment/leveret-prometheus",
)


# As the release is installed for the tests.
FLAGS = (
    "-f",
    str(CHART / "values-kind.yaml"),
    "--set",
    f"admission.namespaces={{{','.join((*BESIDE, SHARES, FOUGHT, UPGRADED, GOES))}}}",
)


def install() -> Namespace:
    """Install the release `leveret` as the README's commands by hand do; where it is there already, it stays."""
    release = make_namespace(CONTEXT, "leveret")
    release.helm("upgrade", "--install", "leveret", str(CHART), *FLAGS)
    for workload in WORKLOADS:
        release.kubectl("rollout", "status", workload, "--timeout=400s")
    return release


def api_of(release: Namespace) -> Api:
    return Api(URL, token_of(release))


def token_of(release: Namespace) -> str:
    return b64decode(release.get("secret", "leveret-token")["data"]["token"]).decode()


@contextlib.contextmanager
def front_door(release: Namespace) -> Iterator[Api]:
    """The API of a release that has no host port."""
    port = free_port()
    command = release.command("port-forward", "service/leveret-producer", f"{port}:80")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            assert "Forwarding" in forward.stdout.readline()
            yield Api(f"http://127.0.0.1:{port}", token_of(release))
        finally:
            forward.terminate()


def apply_examples(release: Namespace, api: Api) -> None:
    """Apply the examples and wait until their JobQueues are Ready and the API knows them."""
    for file in sorted((ROOT / "manifests" / "examples").glob("*.yaml")):
        release.apply(file)
    for name in ("url-check", "bench"):
        release.kubectl("wait", "--for=condition=Ready", f"jobqueue/{name}", "--timeout=300s")
        eventually(f"the API knows {name}", lambda name=name: api.get(f"/v1/queues/leveret.{name}")["name"] != "", 180)


def producer_metrics(release: Namespace) -> dict[str, dict[str, float]]:
    """Return what each producer pod counts, by the name of the series with its labels."""
    found = {}
    for pod in release.pods("app.kubernetes.io/component=producer"):
        text = release.kubectl("exec", pod, "--", "python", "-c", READ_METRICS)
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        found[pod] = {name: float(value) for name, value in lines}
    return found
