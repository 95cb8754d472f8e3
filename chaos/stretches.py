"""What a run consists of, one stretch after the other, each with its jobs and its faults: drawn from the seed, no clock.

* *mix*: many jobs and every kind of fault, in any order.
* *long cuts*: consumers whose jobs go on while both sides give the connection up, which the broker does 80 to 120 s after
  the last octet: then their twins run elsewhere. Cut off on both sides, on one, and all but a trickle. Another one has few
  slots and short jobs, and many more attempts than slots end in the cut and wait for their confirm.
* *ended*: the same when a broker dies; and an alarm that outlasts any silence, in which more results end than the sockets of
  their connection hold.
* *effects*: many jobs that each write one row in their transaction, and submit follow-ups in it (`chaos.effects`).
* *inserts*: stops of large inserts (`chaos.inserts`), which take as long as they take.

No broker dies in the long cuts: it would give jobs away at once that nobody can tell their cut consumers of.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from chaos import jobs, plan
from chaos.jobs import Batch, Job, Way
from chaos.plan import Drops, Fault, Kind, Part

STAYS, STAYS_AGAIN = (205.0, 215.0), (20.0, 30.0)  # s: beyond the broker's latest hang-up, and long enough to be seen
WAVE = 60  # jobs that stay
LONG_CUTS_AT, LONG_CUT, TRICKLE = (10.0, 14.0), (165.0, 175.0), 60.0  # s
LONG_CUTS_SECONDS = 240.0
WARM_SECONDS, WARM_EVERY, WARM_JOBS = 60.0, 0.5, 12  # the prefetch follows the jobs' length after 30 s and a bit
BURST, BULKY_BURST = 1_200, 220  # jobs
ENDED_ALARM, BULKY_ALARM = 6.0, 90.0  # s; the second outlasts any silence that is borne
_PAUSE = 30.0  # s, until all is there again


class Stretch(StrEnum):
    MIX = "mix"
    LONG_CUTS = "long-cuts"
    ENDED = "ended"
    EFFECTS = "effects"
    INSERTS = "inserts"


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run."""

    seconds: float
    faults: tuple[Fault, ...]
    batches: tuple[Batch, ...]
    parts: tuple[Part, ...]  # the consumers that it needs


@dataclass(frozen=True, slots=True)
class Size:
    jobs: int  # of the mix, and of the effects; follow-ups come on top
    faults: int
    only: Stretch | None = None  # None: the mix, and in a long run all
    stops: int = 1_000


def wanted(size: Size) -> tuple[Stretch, ...]:
    if size.only:
        return (size.only,)
    return tuple(Stretch) if plan.length(size.jobs, size.faults) >= plan.LONG_RUN else (Stretch.MIX,)


def parts(size: Size) -> tuple[Part, ...]:
    """Return the consumers that are needed: those of the mix are there in any case."""
    has = wanted(size)
    long = (Part.LONG,) if Stretch.LONG_CUTS in has else ()
    few = (Part.FEW,) if {Stretch.LONG_CUTS, Stretch.ENDED} & set(has) else ()
    bulk = (Part.BULK,) if Stretch.ENDED in has else ()
    effects = (Part.EFFECTS,) if Stretch.EFFECTS in has else ()
    return (Part.BENCH, Part.URLS, Part.ODD, *long, *few, *bulk, *effects)


def beside(size: Size) -> tuple[Part, ...]:
    """Return what is needed of the example bulk-insert."""
    if Stretch.INSERTS in wanted(size):
        return (Part.OWN_DATABASE, Part.FRONT, Part.INSERTS)
    return (Part.OWN_DATABASE,) if Stretch.EFFECTS in wanted(size) else ()


def planned(seed: int, run: str, size: Size, without: Collection[Kind] = ()) -> Plan:
    """Return the run of a seed; `run` keeps the paths of two runs apart."""
    since, faults, batches = 0.0, list[Fault](), list[Batch]()
    for stretch in wanted(size):
        seconds, its_faults, its_batches = _drawn(stretch, seed, run, size, without)
        faults += [replace(one, at=round(one.at + since, 1)) for one in its_faults]
        batches += [replace(one, at=round(one.at + since, 2)) for one in its_batches]
        since += seconds
    batches.sort(key=lambda batch: batch.at)  # the submitter takes one after the other
    return Plan(
        since,
        tuple(replace(fault, number=number) for number, fault in enumerate(faults, 1)),
        tuple(replace(batch, number=number) for number, batch in enumerate(batches)),
        parts(size),
    )


_Drawn = tuple[float, tuple[Fault, ...], tuple[Batch, ...]]


def _drawn(stretch: Stretch, seed: int, run: str, size: Size, without: Collection[Kind]) -> _Drawn:
    chance = random.Random(f"{stretch} {seed}")  # noqa: S311 - to be repeated, not to be secret
    match stretch:
        case Stretch.MIX:
            seconds = plan.length(size.jobs, size.faults)
            return (
                seconds,
                plan.faults(seed, size.faults, seconds, without),
                jobs.batches(seed, run, size.jobs, seconds),
            )
        case Stretch.LONG_CUTS:
            at_work = Fault(0, WARM_SECONDS, Kind.CUT, Part.FEW, Part.BROKER, _tenths(chance, LONG_CUT), burst=BURST)
            return LONG_CUTS_SECONDS, (*_long_cuts(chance), at_work), (_wave(chance), *_warm(0.0))
        case Stretch.ENDED:
            return _ended(chance)
        case Stretch.EFFECTS:
            seconds = plan.length(size.jobs * 3 // 2, size.faults)  # with their follow-ups
            faults = plan.faults(seed, size.faults, seconds, without, plan.EFFECTS)
            return seconds, faults, jobs.batches(seed, run, size.jobs, seconds, {Part.EFFECTS: 1})
        case Stretch.INSERTS:
            return 0.0, (), ()


def _long_cuts(chance: random.Random) -> tuple[Fault, ...]:
    """Each hits a pod of its own, and one is left alone: there the twins find room."""
    drops = list(Drops)
    chance.shuffle(drops)
    pods = plan.PODS[Part.LONG][0]
    found = [
        Fault(
            0,
            round(chance.uniform(*LONG_CUTS_AT), 1),
            Kind.CUT,
            Part.LONG,
            Part.BROKER,
            TRICKLE if drop is Drops.MOST else round(chance.uniform(*LONG_CUT), 1),
            pick=(number + 0.5) / pods,
            drops=drop,
        )
        for number, drop in enumerate(drops)
    ]
    return tuple(sorted(found, key=lambda fault: fault.at))


def _wave(chance: random.Random) -> Batch:
    """Half of them coroutines, and as many threads as processes; in an order that gives each pod of each."""
    kinds = ("stay", "stay-thread", "stay", "stay-process")
    made = [
        Job(
            Part.LONG,
            kinds[number % len(kinds)],
            {"seconds": _tenths(chance, STAYS), "again": _tenths(chance, STAYS_AGAIN)},
        )
        for number in range(WAVE)
    ]
    chance.shuffle(made)
    return Batch(0, 1.0, Way.LIST, tuple(made))


def _ended(chance: random.Random) -> _Drawn:
    """The pod is warm before the broker's death: it holds many more jobs than it has slots."""
    death = Fault(0, 0, chance.choice(plan.HARD), Part.BROKER, seconds=ENDED_ALARM, burst=BURST)
    alarm = Fault(
        0, 0, chance.choice((Kind.MEMORY, Kind.DISK)), Part.BROKER, seconds=BULKY_ALARM, burst=BULKY_BURST, bulky=True
    )
    order = [death, alarm]
    chance.shuffle(order)
    at, faults, batches = 0.0, list[Fault](), list[Batch]()
    for fault in order:
        if not fault.bulky:
            batches += _warm(at)
            at += WARM_SECONDS
        faults.append(replace(fault, at=at))
        at += fault.seconds + _PAUSE
    return at, tuple(faults), tuple(batches)


def _warm(since: float) -> list[Batch]:
    group = tuple(Job(Part.FEW, "noop", {}) for _ in range(WARM_JOBS))
    return [Batch(0, since + number * WARM_EVERY, Way.LIST, group) for number in range(int(WARM_SECONDS / WARM_EVERY))]


def _tenths(chance: random.Random, bounds: tuple[float, float]) -> float:
    return round(chance.uniform(*bounds), 1)
