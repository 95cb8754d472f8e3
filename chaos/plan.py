"""Which faults a run has, when, and whom they hit: drawn from the seed, with no clock.

The first faults of every run hit each part once and cut one connection; what follows is dealt from a deck that holds
every fault, so that a long run has all of them and a short one the most telling.
"""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

SECONDS_PER_FAULT = 15.0
QUIET_START = 8.0  # s without a fault, so that there is something to lose
MOST_JOBS_PER_SECOND = 60.0  # what two cores carry beside the faults


class Part(StrEnum):
    """What can be hit, and what can only be cut off. The first three are the consumers of the run's own JobQueues."""

    BENCH = "chaos-bench"
    URLS = "chaos-urls"
    ODD = "chaos-odd"  # the one whose clock jumps, and whose jobs end its process
    PRODUCER = "producer"
    OPERATOR = "operator"
    BROKER = "broker"
    DATABASE = "database"
    TARGETS = "targets"  # the servers that chaos-urls asks; they are a witness too, so they stay
    API_SERVER = "API server"  # Kubernetes', for the operator


class Kind(StrEnum):
    KILL = "kill"  # SIGKILL of the container's first process: it starts again in its pod
    DELETE = "delete"  # the pod is deleted without a grace period
    STOP = "stop"  # the pod is deleted and stops in its own time
    CUT = "cut"  # no packet passes between two pods
    MEMORY = "memory alarm"
    DISK = "disk alarm"
    CLOCK = "clock jump"
    ROLLOUT = "rolling restart"
    SCALE = "scale by hand"
    CRASH = "crash"  # a job ends the process that runs it


@dataclass(frozen=True, slots=True)
class Fault:
    number: int  # 1…
    at: float  # s after the start of the run
    kind: Kind
    part: Part
    other: Part | None = None  # the far side of a cut
    seconds: float = 0.0  # how long a cut, an alarm or a wrong clock lasts
    size: int = 0  # of a jump in s, or the replicas that somebody asks for by hand
    pick: float = 0.0  # 0…1: which of the part's pods

    @property
    def title(self) -> str:
        match self.kind:
            case Kind.CUT:
                return f"cut {self.part} from {self.other} for {self.seconds:.0f} s"
            case Kind.MEMORY | Kind.DISK:
                return f"{self.kind} for {self.seconds:.0f} s"
            case Kind.CLOCK:
                return f"clock of {self.part} {self.size:+,} s for {self.seconds:.0f} s"
            case Kind.SCALE:
                return f"{self.kind}: {self.part} to {self.size}"
            case Kind.ROLLOUT:
                return f"{self.kind} of {self.part}"
            case Kind.CRASH:
                return f"a job that ends its process, {self.part}"
        return f"{self.kind} {self.part}"


HARD = (Kind.KILL, Kind.DELETE)
_VICTIMS = (Part.BENCH, Part.URLS, Part.PRODUCER, Part.OPERATOR, Part.BROKER, Part.DATABASE)
_CUTS = (
    (Part.PRODUCER, Part.BROKER),
    (Part.PRODUCER, Part.DATABASE),
    (Part.BENCH, Part.BROKER),
    (Part.URLS, Part.BROKER),
    (Part.ODD, Part.BROKER),
    (Part.URLS, Part.TARGETS),
    (Part.OPERATOR, Part.BROKER),
    (Part.OPERATOR, Part.API_SERVER),
)
_Card = tuple[Kind, Part, Part | None]
_DECK: tuple[_Card, ...] = (
    *((kind, part, None) for kind in (Kind.KILL, Kind.DELETE, Kind.STOP) for part in _VICTIMS),
    *((Kind.CUT, part, other) for part, other in _CUTS),
    (Kind.MEMORY, Part.BROKER, None),
    (Kind.DISK, Part.BROKER, None),
    (Kind.CLOCK, Part.ODD, None),
    (Kind.CLOCK, Part.ODD, None),
    (Kind.ROLLOUT, Part.BENCH, None),
    (Kind.ROLLOUT, Part.URLS, None),
    (Kind.SCALE, Part.BENCH, None),
    (Kind.CRASH, Part.ODD, None),
    (Kind.STOP, Part.ODD, None),  # also because a container that ends often in the same pod is started later and later
)
LONG_RUN = 300.0  # s; a shorter one has no long cuts
_LONG_CUT = (45.0, 60.0)  # s: beyond two heartbeats of 20 s, so that both sides give the connection up
_SHORT = (3.0, 15.0)  # also each cut from the targets: of a longer one jobs rightly die, their attempts used up


def length(jobs: int, faults: int) -> float:
    """Return how long jobs are submitted, in s."""
    return max(QUIET_START + faults * SECONDS_PER_FAULT, jobs / MOST_JOBS_PER_SECOND)


def faults(seed: int, count: int, seconds: float, without: Collection[Kind] = ()) -> tuple[Fault, ...]:
    """Return the faults of a run of so many seconds, in order; the same seed gives the same ones."""
    chance = random.Random(f"faults {seed}")  # noqa: S311 - to be repeated, not to be secret
    gap = (seconds - QUIET_START) / max(count, 1)
    cards = _deal(chance, without)
    found = []
    for number in range(1, count + 1):
        at = QUIET_START + gap * (number - 1 + chance.uniform(0.0, 0.5))
        found.append(_draw(chance, number, at, next(cards), long=seconds >= LONG_RUN))
    return tuple(found)


def _deal(chance: random.Random, without: Collection[Kind]) -> Iterator[_Card]:
    first: list[_Card] = [
        (chance.choice(HARD), part, None)
        for part in (chance.choice((Part.BENCH, Part.URLS)), Part.PRODUCER, Part.OPERATOR, Part.BROKER, Part.DATABASE)
    ]
    first.append((Kind.CUT, *chance.choice(_CUTS)))
    chance.shuffle(first)
    yield from first
    deck = [card for card in _DECK if card not in first]
    while True:
        chance.shuffle(deck)
        yield from (card for card in deck if card[0] not in without)
        deck = list(_DECK)


def _draw(chance: random.Random, number: int, at: float, card: _Card, *, long: bool) -> Fault:
    kind, part, other = card
    seconds, size = 0.0, 0
    match kind:
        case Kind.CUT:
            may_be_long = long and other is not Part.TARGETS
            seconds = chance.uniform(*(_LONG_CUT if may_be_long and chance.random() < 0.25 else _SHORT))
        case Kind.MEMORY | Kind.DISK:
            seconds = chance.uniform(*_SHORT)
        case Kind.CLOCK:
            seconds, size = chance.uniform(8.0, 20.0), chance.choice((-7200, -90, 90, 3600, 86_400))
        case Kind.SCALE:
            size = chance.choice((0, 1, 6))
    return Fault(number, round(at, 1), kind, part, other, round(seconds, 1), size, chance.random())
