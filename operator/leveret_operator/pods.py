"""A consumer pod as a value: of all that Kubernetes says of it, what tells whether it runs, and why not (`pod_parsing` reads it)."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Told:
    """A condition, of a pod or a Deployment, that is not as it should be."""

    reason: str
    message: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """How the last run of a container ended."""

    reason: str  # Error, OOMKilled, Completed, …
    message: str  # its termination message: its own last words
    exit_code: int
    ran: timedelta | None


@dataclass(frozen=True, slots=True)
class Container:
    name: str
    ready: bool  # one that comes before the others and must end: has ended well
    started: bool  # its startup probe succeeded
    waiting: str | None = None  # why it waits
    says: str = ""  # the same as a sentence
    running_since: datetime | None = None
    ended: Ended | None = None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Pod:
    name: str
    jobqueue: str  # by the ReplicaSet that controls it, as anybody's pod may carry our label
    uid: str
    revision: int  # grows with each change of the object
    replica_set: str  # the end of its ReplicaSet's name; pods of one template have the same
    created: datetime
    ready: bool
    going: bool  # is being deleted
    over: Told | None = None  # it ended for good: evicted, or refused by its node
    unplaced: Told | None = None  # no node has it
    not_set_up: Told | None = None  # its volumes or its network are missing
    slow_volumes: bool = False  # some come over the network, which takes its time
    unready_since: datetime | None = None
    containers: tuple[Container, ...] = ()  # those that come before the others first
