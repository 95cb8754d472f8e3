"""One operator in a namespace: what is said to a second one, who goes on when the first is killed, and a fight over a size.

The operators are processes beside the cluster, in a namespace and with a broker of their own.
"""

import itertools
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from api import eventually
from containers import Server, free_port, rabbitmq_server
from kube import CHART, Namespace, make_namespace, run, tool
from processes import Start, starting
from prometheus_client.parser import text_string_to_metric_families
from release import FOUGHT

DEPLOYMENT = "deployment/fought-consumer"
JOBQUEUE = {
    "apiVersion": "leveret.dev/v1alpha1",
    "kind": "JobQueue",
    "metadata": {"name": "fought"},
    "spec": {
        "consumer": {
            "image": "leveret/examples:0.2.0",
            "handlers": "examples.bench.handlers:handlers",
            "template": {"spec": {"nodeSelector": {"leveret.dev/no": "such"}}},  # a size, and no pod that runs
        },
        "scaling": {"minReplicas": 1},
    },
}


@dataclass
class Operator:
    name: str
    port: int
    process: subprocess.Popen[bytes]

    def ready(self) -> tuple[bool, str]:
        answer = httpx.get(f"http://127.0.0.1:{self.port}/readyz")
        return answer.is_success, str(answer.json()["says"])

    def writes(self) -> float:
        """To Kubernetes, of any kind."""
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(one.value for one in samples if one.name == "leveret_kubernetes_writes_total")


@dataclass
class World:
    space: Namespace
    rabbitmq: Server
    config: Path
    start: Start

    def operator(self, name: str) -> Operator:
        port, ports = free_port(), self.rabbitmq.ports
        process = self.start(
            "leveret_operator",
            KUBECONFIG=str(self.config),
            LEVERET_NAMESPACE=self.space.name,
            LEVERET_POD=name,
            LEVERET_PROBE_PORT=str(port),
            LEVERET_BROKER_URL=f"amqp://leveret:leveret@127.0.0.1:{ports[5672]}/",
            LEVERET_BROKER_METRICS_PORT=str(ports[15692]),
            LEVERET_BROKER_MANAGEMENT_PORT=str(ports[15672]),
        )
        return Operator(name, port, process)

    def contested(self) -> dict[str, Any] | None:
        conditions = self.space.get("jobqueue", "fought").get("status", {}).get("conditions", [])
        return next((one for one in conditions if one["type"] == "Contested"), None)


@pytest.fixture(scope="module")
def world(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    space, logs = make_namespace(namespace.context, FOUGHT), tmp_path_factory.mktemp("operators")
    config = logs / "config"
    config.write_text(space.kubectl("config", "view", "--minify", "--flatten"))
    config.chmod(0o600)
    space.apply(JOBQUEUE)
    with rabbitmq_server() as rabbitmq, starting(logs) as start:
        yield World(space, rabbitmq, config, start)
    space.kubectl("delete", "namespace", space.name, "--wait=false")


@pytest.fixture(scope="module")
def first(world: World) -> Operator:
    operator = world.operator("first")
    took = eventually("the first operator is ready", lambda: operator.ready()[0], 60)
    eventually("its Deployment is there", lambda: bool(world.space.get("deployment", "fought-consumer")), 60)
    print(f"\nready {took:.1f} s after its start")
    return operator


def test_a_second_release_is_refused_with_a_sentence(namespace: Namespace) -> None:
    words = ["--kube-context", namespace.context, "-n", namespace.name, "install", "other", str(CHART)]
    done = run(tool("helm"), *words, "--set", "crds.enabled=false", check=False)
    assert done.returncode, "a second release was installed"
    assert f"the namespace {namespace.name} has the operator of the release leveret already" in done.stderr


@pytest.mark.timeout(300)
def test_a_fight_over_the_size_is_one_write_in_ten_seconds_and_names_who_fights(world: World, first: Operator) -> None:
    told = None
    with world.space.watch(DEPLOYMENT, ".spec.replicas") as sizes:
        end = time.monotonic() + 18
        while time.monotonic() < end:
            world.space.kubectl("scale", DEPLOYMENT, "--replicas=3", "--current-replicas=1", check=False)
            told = told or world.contested()
            time.sleep(0.5)
    print("\n" + ", ".join(f"{change.value} at {change.at - sizes[0].at:.1f} s" for change in sizes))
    ours = [after.at for before, after in itertools.pairwise(sizes) if (before.value, after.value) == ("3", "1")]
    assert 2 <= len(ours) <= 4, sizes
    assert min(after - before for before, after in itertools.pairwise(ours)) > 9.5, "what kubectl prints may come late"
    assert told is not None
    assert (told["status"], told["reason"]) == ("True", "ReplicasContested")
    assert told["message"].startswith("kubectl sets the Deployment's replicas")
    decided = world.space.get("jobqueue", "fought")["status"]["decisions"]
    assert any("kubectl had set 3" in one["message"] for one in decided)


@pytest.mark.timeout(300)
def test_others_write_nothing_until_the_first_is_killed_or_stops(world: World, first: Operator) -> None:
    others = [world.operator("second"), world.operator("third")]
    for other in others:
        eventually("it says who is the operator", lambda other=other: "first_" in other.ready()[1], 60)
        assert (other.ready()[0], other.writes()) == (False, 0)
    assert first.writes() > 0
    first.process.kill()
    took = eventually("another one goes on", lambda: any(other.ready()[0] for other in others), 30)
    print(f"\ntaken over {took:.1f} s after the kill")
    heir, last = sorted(others, key=lambda other: not other.ready()[0])
    eventually("the last one says who is the operator", lambda: f"{heir.name}_" in last.ready()[1], 30)
    assert last.writes() == 0
    heir.process.send_signal(signal.SIGTERM)
    assert heir.process.wait(60) == 0
    took = eventually("the last one goes on", lambda: last.ready()[0], 10)
    print(f"taken over {took:.1f} s after a graceful stop")
