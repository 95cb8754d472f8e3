"""What the operator keeps of one JobQueue between two turns of the loop."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from leveret.scaling.backlog import Depth
from leveret.scaling.demand import Signals
from leveret.scaling.gathering import Gathering
from leveret.scaling.memory import Memory
from leveret_operator.available import Availability
from leveret_operator.conditions import State, States
from leveret_operator.contest import Contests
from leveret_operator.dead_letter_sources import NoSource, Source
from leveret_operator.jobqueue import Condition, Decided, JobQueue, Json
from leveret_operator.queue_names import NoQueue

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(seconds=60)


@dataclass(slots=True)
class Pause:
    """When to try something again that failed: after 1 s, doubled up to 60 s."""

    until: datetime | None = None
    _length: timedelta = FIRST_PAUSE

    def over(self, now: datetime) -> bool:
        return self.until is None or now >= self.until

    def longer(self, now: datetime) -> None:
        self.until = now + self._length
        self._length = min(2 * self._length, LONGEST_PAUSE)

    def end(self) -> None:
        self.until, self._length = None, FIRST_PAUSE


@dataclass(slots=True)
class Kept:
    jobqueue: JobQueue
    conditions: tuple[Condition, ...]
    decisions: tuple[Decided, ...]  # the newest first
    memory: Memory
    since: datetime  # when it was first seen
    states: States = field(default_factory=States)
    declared_in: int | None = None  # the broker session
    settled_at: datetime | None = None  # a new queue is on the broker's disk from then on
    no_queue: NoQueue | None = None  # why its queue is not its own
    source: Source | NoSource | None = None  # whose dead letters its consumers take
    tried: tuple[JobQueue, Source | None] | None = None  # what a Deployment was last to be made from
    applied: tuple[JobQueue, Source | None] | None = None  # what it was last made from
    fingerprint: str | None = None  # of the Deployment as it was after that, or as others added to it since
    ours: str | None = None  # a fingerprint of what it had then where we say something
    recorded_generation: int | None = None  # that an earlier operator has seen
    applying: Pause = field(default_factory=Pause)
    declaring: Pause = field(default_factory=Pause)
    availability: Availability = field(default_factory=Availability)
    scaling: Pause = field(default_factory=Pause)
    contests: Contests = field(default_factory=Contests)
    size: int | None = None  # of the Deployment, as this operator set it or agrees with it
    live: Depth | None = None
    source_live: Depth | None = None
    look_at: datetime | None = None  # a hint came, and more may come with it until then
    gathering: Gathering | None = None
    work_since: datetime | None = None  # the first sign of work that no scale-up has answered yet
    desired: int | None = None
    replicas_known: bool = False  # whether memory has begun with the Deployment's real size
    status: Json | None = None  # as written last
    status_at: datetime | None = None
    saying: Pause = field(default_factory=Pause)

    @property
    def taken_from(self) -> Source | None:
        return self.source if isinstance(self.source, Source) else None

    def hear(self, signals: Signals) -> None:
        self.memory = replace(self.memory, signals=signals)

    def say(self, **states: State) -> None:
        """Set some of the states that conditions are made from."""
        self.states = replace(self.states, **states)
