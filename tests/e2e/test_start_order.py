"""Installed while the broker, the database or both are held back for a minute, everything works itself into a running
state.

Each case is a release of its own in a namespace of its own, all three at the same time.
"""

import time
from collections.abc import Iterator

import pytest
from api import eventually
from kube import CHART, ROOT, Namespace, make_namespace
from release import BESIDE, front_door

HELD_BACK_FOR = 60.0  # s
CASES = dict(zip(BESIDE, (["rabbitmq"], ["postgresql"], ["rabbitmq", "postgresql"]), strict=True))
OURS = ("operator", "producer", "consumer")


def install_without(held_back: list[str], release: Namespace) -> None:
    """Install the chart as it is but for the replicas of what is held back, and apply a JobQueue at once."""
    zero = [word for part in held_back for word in ("--set", f"{part}.replicas=0")]
    # Four releases and their consumers share one small node: what they ask for must fit, whatever they use.
    small = [
        word
        for part in ("operator", "producer", "rabbitmq", "postgresql")
        for word in ("--set", f"{part}.resources.requests.cpu=5m,{part}.resources.requests.memory=64Mi")
    ]
    flags = ["--set", "crds.enabled=false", "--set", "prometheus.enabled=false", *zero, *small]
    release.helm("upgrade", "--install", "leveret", str(CHART), *flags)
    release.apply(ROOT / "manifests" / "examples" / "bench.yaml")


def condition(release: Namespace, name: str) -> str:
    conditions = release.get("jobqueue", "bench").get("status", {}).get("conditions", [])
    return next((found["status"] for found in conditions if found["type"] == name), "missing")


def restarts(release: Namespace) -> dict[str, int]:
    counts = {}
    for pod in release.all("pods"):
        if pod["metadata"]["labels"].get("app.kubernetes.io/component") in OURS:
            counts[pod["metadata"]["name"]] = sum(
                status["restartCount"] for status in pod["status"].get("containerStatuses", [])
            )
    return counts


@pytest.fixture(scope="module")
def releases(namespace: Namespace) -> Iterator[dict[str, Namespace]]:
    made = {name: make_namespace(namespace.context, name) for name in CASES}
    yield made
    for release in made.values():
        release.kubectl("delete", "namespace", release.name, "--wait=false")


@pytest.mark.timeout(1800)
def test_whatever_is_held_back_everything_runs_in_the_end(releases: dict[str, Namespace]) -> None:
    for name, release in releases.items():
        install_without(CASES[name], release)
    began = time.monotonic()
    for name, release in releases.items():
        if "rabbitmq" in CASES[name]:
            eventually(
                f"{name}: the JobQueue says what it waits for",
                lambda r=release: condition(r, "BrokerReachable") == "False",
                180,
            )
    time.sleep(max(0.0, HELD_BACK_FOR - (time.monotonic() - began)))
    for name, release in releases.items():
        crashed = {pod: count for pod, count in restarts(release).items() if count}
        assert crashed == {}, f"{name}: waiting is not crashing"
        for part in CASES[name]:
            release.kubectl("scale", f"statefulset/leveret-{part}", "--replicas=1")
    for name, release in releases.items():
        took = eventually(f"{name}: a job runs", lambda r=release: echo_runs(r), 400, every=1)
        print(f"\n{name}: a job had run {took:.0f} s after what was held back was let go")
        for kind in ("Ready", "BrokerReachable", "TopologyReady"):
            eventually(f"{name}: {kind}", lambda r=release, k=kind: condition(r, k) == "True", 180)


def echo_runs(release: Namespace) -> bool:
    with front_door(release) as api:
        queue = f"{release.name}.bench"
        answer = api.call("POST", f"/v1/queues/{queue}/jobs", {"type": "echo", "payload": {"value": release.name}})
        assert answer.status == 202, answer
        (job,) = api.wait_final(queue, [answer.body["id"]], 90).values()
        return bool(job["state"] == "succeeded")
