"""A cluster and a broker that are played, for tests of the operator's turns: they keep what is written to them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from leveret.scaling.backlog import Depth
from leveret.scaling.demand import Beat, Hinted, hear_beat, hear_hint
from leveret.scaling.memory import begin
from leveret_operator.announcements import Announcements
from leveret_operator.broker import NotDeclared, QueueDiffers
from leveret_operator.conditions import State
from leveret_operator.deployment import Surroundings
from leveret_operator.freshness import fresh, missing
from leveret_operator.jobqueue import Deployment, JobQueue
from leveret_operator.kept import Kept
from leveret_operator.kubernetes_api import ApiRefused
from leveret_operator.live_depths import QueueMissing
from leveret_operator.metrics import Metrics
from leveret_operator.parsing import parse_deployment, version_of
from leveret_operator.present_versions import PresentVersions
from leveret_operator.queue_names import AllowedNames
from leveret_operator.registry import Registry
from leveret_operator.rollouts import mark_of
from leveret_operator.tools import Tools
from leveret_operator.turn import take_turn

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Cluster:
    """Takes what is written; refuses what it is told to."""

    refuses: dict[str, ApiRefused] = field(default_factory=dict)
    replicas: int = 1  # as the API server sets it where nothing is said
    ready: int = 1  # pods
    sizes: list[int] = field(default_factory=list)
    applied: list[Any] = field(default_factory=list)
    tried: int = 0  # what was applied or refused
    status: dict[str, Any] = field(default_factory=dict)  # as written last, of whichever JobQueue
    statuses: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the JobQueue's name
    told: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)  # the part of it that is bad news
    answers: Callable[[Deployment], Deployment] = lambda made: made
    writes: Counter[str] = field(default_factory=Counter)  # by the JobQueue's name; Events are not counted

    async def apply_deployment(self, manifest: Any, name: str) -> Deployment:
        self.tried += 1
        self._maybe("apply")
        self.applied.append(manifest)
        jobqueue = manifest["metadata"]["labels"]["leveret.dev/jobqueue"]
        self.writes[jobqueue] += 1
        return self.answers(
            Deployment(
                name, jobqueue, "d1", len(self.applied), self.replicas, 0, str(manifest), ready=self.ready,
                version=version_of(manifest["spec"]), updated=self.replicas, mark=mark_of(manifest),
                shape=parse_deployment({**manifest, "metadata": {**manifest["metadata"], "uid": "d1"}}).shape,
            )
        )  # fmt: skip

    async def scale(self, deployment: str, replicas: int, *, owned: bool = False) -> int:
        self._maybe("scale")
        self.sizes.append(replicas)
        self.writes[deployment.removesuffix("-consumer")] += 1
        self.replicas = replicas
        return 100 + len(self.sizes)

    async def write_status(self, jobqueue: JobQueue, status: dict[str, Any]) -> None:
        self.status = self.statuses[jobqueue.name] = status
        self.writes[jobqueue.name] += 1

    async def tell(self, jobqueue: JobQueue, kind: str, reason: str, message: str, *, now: datetime) -> None:
        self.told.append(reason)
        if kind == "Warning":
            self.warned.append(f"{reason} of {jobqueue.name}: {message}")

    def _maybe(self, what: str) -> None:
        if what in self.refuses:
            raise self.refuses[what]

    def condition(self, type_: str, jobqueue: str | None = None) -> tuple[str, str]:
        status = self.status if jobqueue is None else self.statuses.get(jobqueue, {"conditions": []})
        found = [entry for entry in status["conditions"] if entry["type"] == type_]
        return (found[0]["status"], found[0]["reason"]) if found else ("", "")


@dataclass
class PlayedBroker:
    now: Callable[[], datetime]
    session: int | None = 1
    silent: bool = False
    unfit: str | None = None
    refused: bool = False
    problem: str = "refused"
    unmade: dict[str, str] = field(default_factory=dict)
    ready: int = 0
    missing: bool = False
    empty: bool = True
    differs: bool = False
    cannot: NotDeclared | None = None
    declared: list[str] = field(default_factory=list)
    unbound: bool = False  # a binding or the queue of dead letters is missing
    bulk: Depth | None = None
    dead: tuple[int, int] | None = (0, 0)  # ready and unacknowledged of queues of dead letters

    async def declare(self, queue: str) -> bool:
        if self.differs:
            raise QueueDiffers("inequivalent arg")
        if self.cannot:
            raise self.cannot
        self.declared.append(queue)
        new, self.missing, self.unbound = self.missing, False, False
        return new

    def misses(self, queue: str) -> bool:
        return self.unbound

    async def live(self, queue: str) -> Depth | QueueMissing | None:
        if queue.endswith(".dead"):
            return None if self.dead is None else Depth(self.now(), self.dead[0])
        return QueueMissing("gone") if self.missing else Depth(self.now(), self.ready)

    async def is_empty(self, queue: str) -> bool:
        return self.empty

    async def has_none_ready(self, queue: str) -> bool:
        return self.dead is not None and self.dead[0] == 0


class Statistics:
    def __init__(self, broker: PlayedBroker) -> None:
        self.broker = broker

    def depth(self, queue: str) -> Depth | None:
        bulk, dead = self.broker.bulk, self.broker.dead
        if not queue.endswith(".dead"):
            return bulk
        return None if bulk is None or dead is None else Depth(bulk.at, *dead)

    def state(self, queues: list[str], *, known: bool) -> State:
        return fresh(None, self.broker.now()) if known else missing(queues[0], None, "nobody answers")


class Scene:
    def __init__(self, jobqueue: JobQueue) -> None:
        self.now = START
        self.cluster, self.broker = Cluster(), PlayedBroker(lambda: self.now)
        self.registry = Registry(lambda name: None)
        self.kept = Kept(jobqueue, (), (), begin(0, START), since=START)
        played: dict[str, Any] = {"api": self.cluster, "broker": self.broker, "events": self.cluster}
        self.tools = Tools(
            **played,
            bulk=Statistics(self.broker),  # type: ignore[arg-type]
            registry=self.registry,
            announcements=Announcements("leveret"),
            versions=PresentVersions(),
            metrics=Metrics(CollectorRegistry()),
            around=Surroundings("leveret-broker", None, "json"),
            clock=lambda: self.now,
            allowed_names=AllowedNames(),
        )

    async def turn(self, second: float, *, bulk: tuple[int, int] | Depth | None = (0, 0)) -> "Scene":
        """Take a turn; numbers of `bulk` are of just now."""
        self.now = START + timedelta(seconds=second)
        self.broker.bulk = Depth(self.now, *bulk) if isinstance(bulk, tuple) else bulk
        await take_turn(self.kept, self.tools)
        return self

    def message(self, type_: str) -> str:
        """What a condition says, as written last."""
        return str({entry["type"]: entry["message"] for entry in self.cluster.status["conditions"]}[type_])

    def beat(self, consumer: str, version: str | None) -> None:
        said = Beat(self.now, 0, 0, version)
        self.kept.hear(hear_beat(self.kept.memory.signals, consumer, said, self.now))

    def hint(self, jobs: int) -> None:
        said = Hinted(self.now, jobs, jobs, None)
        self.kept.hear(hear_hint(self.kept.memory.signals, "p", said, self.now))
