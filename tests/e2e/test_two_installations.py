"""A second release in another namespace, on the first one's virtual host: it takes nothing, says so, and the first loses nothing."""

import time
from collections.abc import Iterator

import pytest
from api import Api, eventually
from kube import CHART, ROOT, Namespace, make_namespace
from release import SHARES

JOBS = 1_000
SAYS = "is the installation "
SAYS_WITHIN = 60.0  # s
READYZ = (
    "import urllib.request as u, urllib.error as e\n"
    "try: u.urlopen('http://127.0.0.1:{}/readyz')\n"
    "except e.HTTPError as no: print(no.code, no.read().decode())"
)


@pytest.fixture
def second(namespace: Namespace) -> Iterator[Namespace]:
    release = make_namespace(namespace.context, SHARES)
    shared = namespace.get("secret", "leveret-broker")["data"]
    broker = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shared"}, "data": {**shared}}
    del broker["data"]["host"]
    release.apply(broker | {"stringData": {"host": f"leveret-rabbitmq.{namespace.name}.svc"}})
    yield release
    release.kubectl("delete", "namespace", release.name, "--wait=false")


def says(release: Namespace, component: str, port: int) -> bool:
    """Whether a pod of this kind is not ready, and why is told."""
    for pod in release.pods(f"app.kubernetes.io/component={component}"):
        told = release.kubectl("exec", pod, "--", "python", "-c", READYZ.format(port), check=False)
        if told.startswith("503") and SAYS in told:
            return True
    return False


@pytest.mark.timeout(600)
def test_the_second_says_so_everywhere_and_the_first_loses_nothing(
    namespace: Namespace, second: Namespace, api: Api
) -> None:
    set_ = "crds.enabled=false,prometheus.enabled=false,rabbitmq.enabled=false,rabbitmq.existingSecret=shared,producer.replicas=1"
    small = (f"{part}.resources.requests.cpu=5m" for part in ("operator", "producer", "postgresql"))
    second.helm("upgrade", "--install", "leveret", str(CHART), "--set", f"{set_},{','.join(small)}")
    second.apply(ROOT / "manifests" / "examples" / "bench.yaml")
    for part in ("operator", "producer"):
        running = ("wait", "pod", f"-lapp.kubernetes.io/component={part}", "--for=jsonpath={.status.phase}=Running")
        second.kubectl(*running, "--timeout=120s")
    began = time.monotonic()
    jobs = [{"type": "echo", "payload": {"value": number}} for number in range(JOBS)]
    ids = api.submit("leveret.bench", jobs)

    def said() -> bool:
        conditions = second.get("jobqueue", "bench").get("status", {}).get("conditions", [])
        told = {one["type"]: one["status"] for one in conditions}
        return (told.get("BrokerShared"), told.get("Ready")) == ("True", "False")

    eventually("the operator says it", said, SAYS_WITHIN)
    eventually("the producer says it", lambda: says(second, "producer", 8080), SAYS_WITHIN)
    eventually("the consumer says it", lambda: says(second, "consumer", 9000), SAYS_WITHIN)
    assert time.monotonic() - began < SAYS_WITHIN
    ended = api.wait_final("leveret.bench", ids, 120)
    assert [job["state"] for job in ended.values()] == ["succeeded"] * JOBS
    assert second.get("jobqueue", "bench")["status"]["reason"] == "BrokerShared"
