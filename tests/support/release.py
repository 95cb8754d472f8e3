"""The chart's release in the test cluster, and what every test against it needs."""

import os
from base64 import b64decode

from api import Api, eventually
from kube import CHART, ROOT, Namespace, make_namespace

CONTEXT = os.environ.get("LEVERET_E2E_CONTEXT", "kind-leveret-test")
URL = os.environ.get("LEVERET_E2E_URL", "http://127.0.0.1:18080")
WORKLOADS = (
    "statefulset/leveret-rabbitmq",
    "statefulset/leveret-postgresql",
    "deployment/leveret-producer",
    "deployment/leveret-operator",
    "deployment/leveret-prometheus",
)


def install() -> Namespace:
    """Install the release `leveret` as the README's commands by hand do; where it is there already, it stays."""
    release = make_namespace(CONTEXT, "leveret")
    release.helm("upgrade", "--install", "leveret", str(CHART), "-f", str(CHART / "values-kind.yaml"))
    for workload in WORKLOADS:
        release.kubectl("rollout", "status", workload, "--timeout=400s")
    return release


def api_of(release: Namespace) -> Api:
    return Api(URL, b64decode(release.get("secret", "leveret-token")["data"]["token"]).decode())


def apply_examples(release: Namespace, api: Api) -> None:
    """Apply the examples and wait until their JobQueues are Ready and the API knows them."""
    for file in sorted((ROOT / "manifests" / "examples").glob("*.yaml")):
        release.apply(file)
    for name in ("url-check", "bench"):
        release.kubectl("wait", "--for=condition=Ready", f"jobqueue/{name}", "--timeout=300s")
        eventually(f"the API knows {name}", lambda name=name: api.get(f"/v1/queues/leveret.{name}")["name"] != "", 180)
