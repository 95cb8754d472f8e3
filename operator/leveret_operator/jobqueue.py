"""A JobQueue, what an earlier operator noted on it, and its Deployment, as values (`parsing` reads them)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from leveret.retry import RetryPolicy
from leveret.scaling.decide import Policy
from leveret.topology import BROKER_DELIVERY_LIMIT
from leveret_operator.pods import Told

LABEL = "leveret.dev/jobqueue"
MARK = "leveret.dev/applied"  # on a Deployment: what was applied last, as a hash
CONSUMERS = "-consumer"  # behind a JobQueue's name: the name of its Deployment
NOT_KNOWN = datetime.max.replace(tzinfo=UTC)  # a creation that nobody dated is later than any other

Json = Mapping[str, object]


class BadSpec(ValueError):
    """The JobQueue can't be understood; the message names the field."""


@dataclass(frozen=True, slots=True)
class Consumer:
    image: str
    handlers: str  # module:object
    concurrency: int
    template: Json = field(default_factory=dict)  # the user's part of a PodTemplateSpec
    startup_timeout: timedelta = timedelta(minutes=2)  # for importing the handlers


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """What `spec.queue` asks for."""

    name: str | None = None  # on the broker; None: <namespace>.<name of the JobQueue>
    max_length: int | None = None  # jobs that wait or run; beyond it the front door refuses
    delivery_limit: int = BROKER_DELIVERY_LIMIT
    dead_letters_of: str | None = None  # the JobQueue whose dead letters the consumers take beside their own jobs


@dataclass(frozen=True, slots=True)
class JobQueue:
    """What a user asks for."""

    namespace: str
    name: str
    uid: str
    generation: int
    consumer: Consumer
    retry: RetryPolicy
    timeout: timedelta
    policy: Policy
    queue_spec: QueueSpec = QueueSpec()
    created: datetime = NOT_KNOWN
    problem: str | None = None  # why the newest spec can't be understood; the rest is then as it was understood last
    going: bool = False  # somebody deleted it, and something keeps it for now
    adjusted: tuple[str, ...] = ()  # what is taken in place of what the spec says, a sentence each

    @property
    def queue(self) -> str:
        """The name of its queue on the broker, whether or not the queue is its own (`queue_names`)."""
        return self.queue_spec.name or f"{self.namespace}.{self.name}"

    @property
    def deployment(self) -> str:
        return f"{self.name}{CONSUMERS}"

    @property
    def version(self) -> str:
        """Of the handlers: consumers repeat it when they register what they can run."""
        text = json.dumps([self.consumer.image, self.consumer.handlers])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Decided:
    """An entry of `status.decisions`."""

    at: datetime
    before: int
    after: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition as `metav1.Condition` has it."""

    type: str
    status: str  # True, False, Unknown
    reason: str
    message: str
    since: datetime
    generation: int
    troubled: bool = False  # something is wrong: False, or True and in need of a person all the same; not written


@dataclass(frozen=True, slots=True)
class Recorded:
    """What an earlier operator wrote into the status, to go on from."""

    conditions: tuple[Condition, ...] = ()
    decisions: tuple[Decided, ...] = ()  # the newest first


@dataclass(frozen=True, slots=True)
class Deployment:
    """A Deployment with our label as the API server has it."""

    name: str
    jobqueue: str  # by the Deployment's name, which can't be changed, as its label can
    uid: str
    revision: int  # grows with each change of the object
    wanted: int  # spec.replicas
    there: int  # pods
    fingerprint: str  # of the pod template and what else we apply
    controller: str | None = None  # the uid of the object that controls it
    ready: int = 0  # pods
    template: str = ""  # of the pods, as a fingerprint
    observed: bool = True  # its controller has seen the newest specification, and what follows is about that
    replica_set: str | None = None  # the end of the name of the newest one; None where it isn't told
    failures: tuple[Told, ...] = ()  # pods can't be created, or an update doesn't get on
    version: str | None = None  # of the handlers that its pods run
    changed_by: str | None = None  # the field manager that last set what we apply, and is another
    scaled_by: str | None = None  # that last set `replicas`, and is another
    updated: int = 0  # pods of the newest template
    mark: str | None = None  # of what was applied last
    shape: str = ""  # what the fingerprint is of, as JSON

    @property
    def rolled_out(self) -> bool:
        """Whether all pods are of the newest template, and ready."""
        return self.observed and max(self.wanted, self.there) <= self.updated <= self.ready

    @property
    def is_consumers(self) -> bool:
        """Whether it has the name of a JobQueue's consumers."""
        return self.name == f"{self.jobqueue}{CONSUMERS}"
