"""What the witnesses and the store tell of a job, and what is known of a fault, as values. Times are in s since 1970."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chaos.jobs import Job
from chaos.plan import Fault

FINAL = frozenset({"succeeded", "dead", "cancelled"})


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that was answered with 202, or confirmed by the broker."""

    id: str
    job: Job
    at: float  # when the answer came
    sent: int = 1  # how often it was published: a client publishes again what was not confirmed


@dataclass(frozen=True, slots=True)
class Run:
    """One start of a handler, as its consumer told of it."""

    generation: int
    attempt: int
    delivery: int  # how often the broker had delivered the message before
    consumer: str  # the pod
    started_at: float


@dataclass(frozen=True, slots=True)
class Row:
    """A job as the store shows it."""

    state: str
    generation: int
    attempt: int
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """A final state as the witness queue got it."""

    generation: int
    state: str
    result: object = None
    at: float = 0.0
    run: Run | None = None  # that it's the end of; None for a dead letter, and where nothing ran


@dataclass(slots=True)
class Witnessed:
    """What the witness queue got of one job."""

    runs: set[Run] = field(default_factory=set)
    ends: list[End] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Presence:
    """One run of a handler, by the clock of the witness that it held a connection to for as long as it went on."""

    job: str
    attempt: int
    delivery: int  # how often the broker had delivered the message before
    kind: str  # async, thread or cpu
    pod: str
    process: str  # no two processes have the same, also in one pod
    began: float
    ended: float | None = None  # None: it went on when the witness was asked
    last: str | None = None  # its last word: returned, raised, cancelled; gone without one: killed


@dataclass(frozen=True, slots=True)
class Asked:
    """What the witnesses saw that no part of Leveret writes to: the targets, and that of the bench handlers."""

    paths: Mapping[str, int]  # requests, by path
    runs: Sequence[Presence] = ()
    at: float = 0.0  # when they were asked


class Witness(Protocol):
    """What the ledger asks the witness queue."""

    def of(self, job_id: str) -> Witnessed: ...


@dataclass(frozen=True, slots=True)
class Happened:
    """A fault as it took place."""

    fault: Fault
    began: float
    ended: float  # when what it hit was ready again
    pods: tuple[str, ...] = ()  # those that were hit
    problem: str | None = None  # what kept it from taking place, or from ending
    seen: str = ""  # what proves that it did what it is there for
