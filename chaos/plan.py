"""Which faults can be, and which a mixed run has, when, and whom they hit: drawn from the seed, with no clock.

The first faults of every mix hit each part once and cut one connection; what follows is dealt from a deck that holds
every fault, so that a long run has all of them and a short one the most telling. `chaos.stretches` has what needs jobs
and times of its own.
"""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

SECONDS_PER_FAULT = 15.0
QUIET_START = 8.0  # s without a fault, so that there is something to lose
MOST_JOBS_PER_SECOND = 60.0  # what two cores carry beside the faults


class Part(StrEnum):
    """What can be hit, and what can only be cut off. The first seven are the consumers of the run's own JobQueues."""

    BENCH = "chaos-bench"
    URLS = "chaos-urls"
    ODD = "chaos-odd"  # the one whose clock jumps, and whose jobs end its process
    LONG = "chaos-long"  # whose jobs last longer than a lost connection goes unnoticed
    FEW = "chaos-few"  # one pod: what is delivered again comes to the process that had it
    BULK = "chaos-bulk"  # one pod again, with many slots and large results
    EFFECTS = "chaos-effects"  # whose jobs each write one row in their transaction
    PRODUCER = "producer"
    OPERATOR = "operator"
    BROKER = "broker"
    DATABASE = "database"
    TARGETS = "targets"  # the servers that chaos-urls asks; they are a witness too, so they stay
    API_SERVER = "API server"  # Kubernetes', for the operator
    OWN_DATABASE = "the example's database"  # bulk-insert's, which has the effects, too
    FRONT = "the example's front"  # bulk-insert's, as is the next
    INSERTS = "bulk-insert"


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


class Drops(StrEnum):
    """What a cut lets through of the packets between its two sides."""

    ALL = ""
    SENT = ", only what it sends"
    RECEIVED = ", only what it is sent"
    MOST = ", but for a trickle"


CONSUMERS = (Part.BENCH, Part.URLS, Part.ODD, Part.LONG, Part.FEW, Part.BULK, Part.EFFECTS)
INSTALLED = (Part.PRODUCER, Part.OPERATOR, Part.BROKER, Part.DATABASE, Part.TARGETS)  # what each run stands on
# How many pods there are, at least and at most.
PODS = {
    Part.BENCH: (2, 4),
    Part.URLS: (2, 4),
    Part.ODD: (1, 1),
    Part.LONG: (5, 5),
    Part.FEW: (1, 1),
    Part.BULK: (1, 1),
    Part.EFFECTS: (2, 4),
    Part.FRONT: (2, 2),
    Part.INSERTS: (2, 3),
}
SLOTS = dict.fromkeys(CONSUMERS, 10) | {Part.URLS: 20, Part.LONG: 50, Part.BULK: 200}
# s: a consumer's heartbeat is 40 s, so the broker gives it up 80 to 120 s after the last octet that it got. Where it's
# cut off on one side, an octet or two come through after the beginning, 20 s apart.
GIVEN_UP = 160.0


@dataclass(frozen=True, slots=True)
class Fault:
    number: int  # 1…
    at: float  # s after the start of the run
    kind: Kind
    part: Part
    other: Part | None = None  # the far side of a cut
    seconds: float = 0.0  # how long a cut, an alarm or a wrong clock lasts
    size: int = (
        0  # of a jump in s; the replicas that somebody asks for by hand; 1: a crash is after the COMMIT, not before it
    )
    pick: float = 0.0  # 0…1: which of the part's pods
    drops: Drops = Drops.ALL  # of a cut
    burst: int = 0  # jobs that are submitted right before, of which many must end in the fault
    bulky: bool = False  # they have large results, and are for BULK; else they are short, and for FEW

    @property
    def is_given_up(self) -> bool:
        """Whether it's a cut that both sides must give the connection up in."""
        far = self.kind is Kind.CUT and self.other is Part.BROKER and self.part in CONSUMERS
        return far and self.drops is not Drops.MOST and self.seconds >= GIVEN_UP

    @property
    def title(self) -> str:
        burst = f"{self.burst:,} large results" if self.bulky else f"{self.burst:,} jobs on few slots"
        return f"{self._what}, at {burst}" if self.burst else self._what

    @property
    def _what(self) -> str:
        match self.kind:
            case Kind.CUT:
                return f"cut {self.part} from {self.other} for {self.seconds:.0f} s{self.drops}"
            case Kind.MEMORY | Kind.DISK:
                return f"{self.kind} for {self.seconds:.0f} s"
            case Kind.CLOCK:
                return f"clock of {self.part} {self.size:+,} s for {self.seconds:.0f} s"
            case Kind.SCALE:
                return f"{self.kind}: {self.part} to {self.size}"
            case Kind.ROLLOUT:
                return f"{self.kind} of {self.part}"
            case Kind.CRASH:
                when = ", right after its COMMIT" if self.size else ", right before its COMMIT"
                return f"a job that ends its process, {self.part}{when if self.part is Part.EFFECTS else ''}"
        return f"{self.kind} {self.part}"


HARD = (Kind.KILL, Kind.DELETE)
_Card = tuple[Kind, Part, Part | None]


@dataclass(frozen=True, slots=True)
class Deck:
    """The faults of a stretch: of the consumers one, and each of the other victims, are killed first."""

    consumers: tuple[Part, ...]
    victims: tuple[Part, ...]
    cuts: tuple[tuple[Part, Part], ...]
    more: tuple[_Card, ...]

    @property
    def cards(self) -> tuple[_Card, ...]:
        hits = (Kind.KILL, Kind.DELETE, Kind.STOP)
        killed = ((kind, part, None) for kind in hits for part in (*self.consumers, *self.victims))
        return (*killed, *((Kind.CUT, part, other) for part, other in self.cuts), *self.more)


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
_MORE: tuple[_Card, ...] = (
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
MIX = Deck((Part.BENCH, Part.URLS), (Part.PRODUCER, Part.OPERATOR, Part.BROKER, Part.DATABASE), _CUTS, _MORE)
EFFECTS = Deck(
    (Part.EFFECTS,),
    (Part.OWN_DATABASE, Part.PRODUCER, Part.BROKER, Part.DATABASE),
    ((Part.EFFECTS, Part.OWN_DATABASE), (Part.EFFECTS, Part.BROKER), (Part.PRODUCER, Part.BROKER)),
    (*((Kind.CRASH, Part.EFFECTS, None),) * 4, (Kind.MEMORY, Part.BROKER, None)),
)
LONG_RUN = 300.0  # s; a shorter one has no long cuts
_LONG_CUT = (45.0, 60.0)  # s: beyond two heartbeats of 20 s, so that producer or operator and broker give each other up
_SHORT = (3.0, 15.0)  # also each cut from the targets: of a longer one jobs rightly die, their attempts used up


def length(jobs: int, faults: int) -> float:
    """Return how long jobs are submitted, in s."""
    return max(QUIET_START + faults * SECONDS_PER_FAULT, jobs / MOST_JOBS_PER_SECOND)


def faults(
    seed: int, count: int, seconds: float, without: Collection[Kind] = (), deck: Deck = MIX
) -> tuple[Fault, ...]:
    """Return the faults of a run of so many seconds, in order; the same seed gives the same ones."""
    chance = random.Random(f"faults {seed}")  # noqa: S311 - to be repeated, not to be secret
    gap = (seconds - QUIET_START) / max(count, 1)
    cards = _deal(chance, without, deck)
    found = []
    for number in range(1, count + 1):
        at = QUIET_START + gap * (number - 1 + chance.uniform(0.0, 0.5))
        found.append(_draw(chance, number, at, next(cards), long=seconds >= LONG_RUN))
    return tuple(found)


def _deal(chance: random.Random, without: Collection[Kind], deck: Deck) -> Iterator[_Card]:
    first: list[_Card] = [(chance.choice(HARD), part, None) for part in (chance.choice(deck.consumers), *deck.victims)]
    first.append((Kind.CUT, *chance.choice(deck.cuts)))
    chance.shuffle(first)
    yield from first
    cards = [card for card in deck.cards if card not in first]
    while True:
        chance.shuffle(cards)
        yield from (card for card in cards if card[0] not in without)
        cards = list(deck.cards)


def _draw(chance: random.Random, number: int, at: float, card: _Card, *, long: bool) -> Fault:
    kind, part, other = card
    seconds, size, drops = 0.0, 0, Drops.ALL
    match kind:
        case Kind.CUT:
            if (
                other is not Part.TARGETS
            ):  # they count requests: of one whose answer is lost they would tell more than was done
                drops = chance.choices(tuple(Drops), (5, 2, 2, 1))[0]
            # A consumer's would have to last longer than two minutes: those have a stretch of their own.
            may_be_long = long and other is not Part.TARGETS and part not in CONSUMERS
            seconds = chance.uniform(*(_LONG_CUT if may_be_long and chance.random() < 0.25 else _SHORT))
        case Kind.MEMORY | Kind.DISK:
            seconds = chance.uniform(*_SHORT)
        case Kind.CLOCK:
            seconds, size = chance.uniform(8.0, 20.0), chance.choice((-7200, -90, 90, 3600, 86_400))
        case Kind.SCALE:
            size = chance.choice((0, 1, 6))
        case Kind.CRASH if part is Part.EFFECTS:
            size = number % 2
    return Fault(number, round(at, 1), kind, part, other, round(seconds, 1), size, chance.random(), drops)
