"""Whole turns, with a cluster and a broker that are played: what is written, in which order, and what is not."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from leveret.scaling.backlog import Depth
from leveret.scaling.demand import Hinted, hear_hint
from leveret.scaling.memory import begin
from leveret_operator.announcements import Announcements
from leveret_operator.broker import QueueDiffers
from leveret_operator.deployment import Surroundings
from leveret_operator.jobqueue import Deployment, JobQueue
from leveret_operator.kept import Kept
from leveret_operator.kubernetes_api import ApiRefused
from leveret_operator.live_depths import QueueMissing
from leveret_operator.metrics import Metrics
from leveret_operator.registry import Registry
from leveret_operator.tools import Tools
from leveret_operator.turn import take_turn

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Cluster:
    """Takes what is written; refuses what it is told to."""

    refuses: dict[str, ApiRefused] = field(default_factory=dict)
    replicas: int = 1  # as the API server sets it where nothing is said
    sizes: list[int] = field(default_factory=list)
    applied: list[Any] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    async def apply_deployment(self, manifest: Any, name: str) -> Deployment:
        self._maybe("apply")
        self.applied.append(manifest)
        jobqueue = manifest["metadata"]["labels"]["leveret.dev/jobqueue"]
        return Deployment(name, jobqueue, "d1", len(self.applied), self.replicas, 0, str(manifest))

    async def scale(self, deployment: str, replicas: int) -> int:
        self._maybe("scale")
        self.sizes.append(replicas)
        self.replicas = replicas
        return 100 + len(self.sizes)

    async def write_status(self, jobqueue: JobQueue, status: dict[str, Any]) -> None:
        self.status = status

    async def tell(self, jobqueue: JobQueue, kind: str, reason: str, message: str, *, now: datetime) -> None:
        self.told.append(reason)

    def _maybe(self, what: str) -> None:
        if what in self.refuses:
            raise self.refuses[what]

    def condition(self, type_: str) -> tuple[str, str]:
        return next((entry["status"], entry["reason"]) for entry in self.status["conditions"] if entry["type"] == type_)


@dataclass
class PlayedBroker:
    session: int | None = 1
    silent: bool = False
    problem: str = "refused"
    ready: int = 0
    missing: bool = False
    empty: bool = True
    differs: bool = False
    declared: int = 0
    bulk: Depth | None = None
    because: str | None = None

    async def declare(self, queue: str) -> None:
        if self.differs:
            raise QueueDiffers("inequivalent arg")
        self.declared += 1
        self.missing = False

    async def live(self, queue: str) -> Depth | QueueMissing | None:
        return QueueMissing("gone") if self.missing else Depth(START, self.ready)

    async def is_empty(self, queue: str) -> bool:
        return self.empty


class Statistics:
    problem = None

    def __init__(self, broker: PlayedBroker) -> None:
        self.broker = broker

    def depth(self, queue: str) -> Depth | None:
        return self.broker.bulk


class Scene:
    def __init__(self, jobqueue: JobQueue) -> None:
        self.cluster, self.broker, self.now = Cluster(), PlayedBroker(), START
        self.registry = Registry(lambda name: None)
        self.kept = Kept(jobqueue, (), (), begin(0, START))
        played: dict[str, Any] = {"api": self.cluster, "broker": self.broker, "events": self.cluster}
        self.tools = Tools(
            **played,
            bulk=Statistics(self.broker),  # type: ignore[arg-type]
            registry=self.registry,
            announcements=Announcements(),
            metrics=Metrics(CollectorRegistry()),
            around=Surroundings("leveret-broker", None, "json"),
            clock=lambda: self.now,
        )

    async def turn(self, second: float, *, bulk: tuple[int, int] | None = (0, 0)) -> "Scene":
        self.now = START + timedelta(seconds=second)
        self.broker.bulk = None if bulk is None else Depth(self.now, *bulk)
        await take_turn(self.kept, self.tools)
        return self

    def hint(self, jobs: int) -> None:
        said = Hinted(self.now, jobs, jobs, None, 0, 0)
        self.kept.hear(hear_hint(self.kept.memory.signals, "p", said, self.now))


@pytest.fixture
def scene(jobqueue: JobQueue) -> Scene:
    return Scene(jobqueue)


async def test_a_new_jobqueue_gets_its_queue_and_its_deployment_once(scene: Scene) -> None:
    for second in range(5):
        await scene.turn(second)
    assert (scene.broker.declared, len(scene.cluster.applied), scene.cluster.sizes) == (1, 1, [])
    assert scene.cluster.condition("Ready") == ("True", "Reconciled")
    assert scene.cluster.status["desiredReplicas"] == 1


async def test_a_hint_is_answered_in_one_write(scene: Scene) -> None:
    scene.cluster.replicas = 0
    await scene.turn(0)
    scene.hint(5_000)
    scene.broker.ready = 700
    await scene.turn(0.15)
    scene.broker.ready = 5_000
    await scene.turn(1)
    assert scene.cluster.sizes == [10]
    decided = scene.cluster.status["decisions"][0]
    assert (decided["from"], decided["to"], decided["reason"]) == (0, 10, "MaxReplicas")
    assert "ScaledUp" in scene.cluster.told


async def test_the_last_check_keeps_the_last_replica(scene: Scene) -> None:
    scene.broker.empty = False
    for second in range(0, 400, 5):
        await scene.turn(second)
    assert scene.cluster.sizes == []
    scene.broker.empty = True
    for second in range(400, 800, 5):
        await scene.turn(second)
    assert scene.cluster.sizes == [0]
    assert scene.cluster.status["decisions"][0]["reason"] == "ProvenZero"


async def test_numbers_that_are_missing_take_nothing_away_and_are_told(scene: Scene) -> None:
    scene.cluster.replicas = 4
    for second in range(0, 600, 10):
        await scene.turn(second, bulk=None)
    assert scene.cluster.sizes == []
    assert scene.cluster.condition("MetricsFresh") == ("False", "SignalsStale")
    assert scene.cluster.status["queue"]["backlog"] is None


async def test_without_a_broker_the_deployment_is_made_all_the_same(scene: Scene) -> None:
    scene.broker.session = None
    await scene.turn(0, bulk=None)
    assert len(scene.cluster.applied) == 1
    assert scene.cluster.condition("BrokerReachable") == ("False", "NotConnected")
    assert scene.cluster.condition("Ready") == ("False", "NotConnected")
    scene.broker.session = 1
    await scene.turn(1)
    assert scene.cluster.condition("Ready") == ("True", "Reconciled")


async def test_what_was_deleted_by_hand_is_made_again(scene: Scene) -> None:
    await scene.turn(0)
    scene.broker.missing = True
    scene.registry.deployment_is_gone(scene.registry.deployments["url-check"])
    await scene.turn(1)
    assert (scene.broker.declared, len(scene.cluster.applied)) == (2, 2)
    changed = replace(scene.registry.deployments["url-check"], fingerprint="edited by hand", revision=50)
    scene.registry.deployment_is(changed)
    await scene.turn(2)
    assert len(scene.cluster.applied) == 3


async def test_a_template_that_changes_ours_leaves_the_last_good_deployment(scene: Scene) -> None:
    await scene.turn(0)
    consumer = replace(scene.kept.jobqueue.consumer, template={"spec": {"hostNetwork": True}})
    scene.kept.jobqueue = replace(scene.kept.jobqueue, consumer=consumer, generation=4)
    await scene.turn(1)
    assert len(scene.cluster.applied) == 1
    assert scene.cluster.condition("Ready") == ("False", "TemplateInvalid")
    assert scene.cluster.condition("ScalingActive") == ("True", "Deciding")


async def test_what_the_api_server_refuses_is_a_condition_and_tried_again_later(scene: Scene) -> None:
    scene.cluster.refuses["apply"] = ApiRefused(422, "Invalid", "spec.x: no")
    await scene.turn(0)
    assert scene.cluster.condition("Ready") == ("False", "DeploymentRefused")
    scene.cluster.refuses.clear()
    await scene.turn(0.5)
    assert scene.cluster.applied == []  # not before a second is over
    await scene.turn(1)
    assert scene.cluster.condition("Ready") == ("True", "Reconciled")
    scene.cluster.refuses["scale"] = ApiRefused(403, "Forbidden", "may not")
    await scene.turn(2, bulk=(900, 0))
    assert scene.cluster.condition("ScalingActive") == ("False", "ScaleRefused")


async def test_a_queue_of_other_arguments_is_told(scene: Scene) -> None:
    scene.broker.differs = True
    await scene.turn(0)
    assert scene.cluster.condition("TopologyReady") == ("False", "QueueDiffers")
    assert scene.cluster.condition("Ready") == ("False", "QueueDiffers")
