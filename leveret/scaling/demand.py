"""What producers and consumers last said about one queue, and what follows from it with the broker's numbers.

A hint is in force for 10 s and a heartbeat for 15 s after it *arrived*: the sender's clock may be wrong. Jobs that a
hint calls unconfirmed soon show up in the broker's count, too. So there is one ledger for all producers: what they
announce is added, what the broker's count rises by is taken off once, and it is never more than they call unconfirmed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from leveret.scaling.backlog import LIVE_GOOD_FOR, Backlog, Depth, Reading, combine
from leveret.scaling.rates import NO_RUNS, Mean, Meter, average, count, drain_seconds, rate
from leveret.version import oldest

HINT_GOOD_FOR = timedelta(seconds=10)
HEARTBEAT_GOOD_FOR = timedelta(seconds=15)
HINT_LATE_BY = timedelta(milliseconds=1_200)  # after jobs were counted: a producer hints once a second


@dataclass(frozen=True, slots=True)
class Hinted:
    """The last hint of one producer."""

    at: datetime  # when it arrived
    committed: int
    unconfirmed: int
    oldest_waiting_since: datetime | None


@dataclass(frozen=True, slots=True)
class Beat:
    """The last heartbeat of one consumer."""

    at: datetime  # when it arrived
    in_flight: int
    finished: int
    version: str | None = None  # of Leveret, as it was told
    busy_seconds: float = 0.0  # spent in those that finished


@dataclass(frozen=True, slots=True)
class Ledger:
    """What all producers together have announced, set against what the broker counts."""

    announced: int = 0  # jobs that the broker's count has not risen by yet
    counted: int | None = None  # the most that it was since its last whole writing; None before the first look
    at: datetime | None = None  # the moment of that count
    unseen: int = 0  # confirmed by the broker, and not in that count: a rise by so many tells nothing new
    # When how many were counted before anybody announced them: a hint of so many tells nothing new.
    early: tuple[tuple[datetime, int], ...] = ()

    @property
    def known(self) -> int:
        """All jobs that are known of, counted and announced."""
        return (self.counted or 0) + self.announced

    def announce(self, jobs: int, now: datetime) -> "Ledger":
        """Add what a hint tells of. The broker may have counted a part of it in the moments before."""
        new, early = jobs, []
        for at, counted in self.early:
            if now - at <= HINT_LATE_BY:
                told = min(new, counted)
                new -= told
                early.append((at, counted - told))
        return replace(self, announced=self.announced + new, early=tuple(early))

    def see(self, backlog: Backlog, bulk: Depth | None, unconfirmed: int, now: datetime) -> "Ledger":
        """Take off once what the count has risen by.

        A count made of different moments, or of a part only, may fall short of the last one: jobs that were just taken
        are in none. So it falls only to what the broker wrote later than that.
        """
        counted, before = backlog.own, self.counted
        if before is None:  # what it was before live was read
            before = max(bulk.whole if bulk else 0, backlog.in_flight)
        rise = max(0, counted - before)
        left = self.announced - max(0, rise - self.unseen)
        announced = max(0, min(left, unconfirmed))
        unseen = max(0, self.unseen - rise) + max(0, left - announced)
        early = tuple((at, jobs) for at, jobs in self.early if jobs and now - at <= HINT_LATE_BY)
        if left < 0 and self.counted is not None:
            early = (*early, (now, -left))
        newer = bulk is not None and (self.at is None or bulk.written_by >= self.at)
        if counted < before and not (newer and backlog.total is not None):
            return replace(self, announced=announced, unseen=unseen, early=early)
        at = bulk.written_by if bulk and counted <= bulk.whole else now
        return Ledger(announced, counted, at, unseen if counted >= before else 0, early)


@dataclass(frozen=True, slots=True)
class Signals:
    """All that was said about one queue and still counts."""

    arrivals: Meter
    completions: Meter
    hints: Mapping[str, Hinted] = field(default_factory=dict)
    beats: Mapping[str, Beat] = field(default_factory=dict)
    last_work: datetime | None = None
    runs: Mean = NO_RUNS
    ledger: Ledger = Ledger()


@dataclass(frozen=True, slots=True)
class Demand:
    """One queue, as one tick sees it."""

    backlog: Backlog
    arrival_rate: float | None  # jobs/s
    completion_rate: float | None  # jobs/s
    oldest_age: float | None  # s
    drain_eta: float | None  # s
    last_work: datetime | None
    leveret_version: str | None = None  # the oldest among the consumers; None while none is heard


def silence(now: datetime) -> Signals:
    """Nothing was said yet."""
    return Signals(Meter(now), Meter(now))


def hear_hint(signals: Signals, producer: str, said: Hinted, now: datetime) -> Signals:
    """Return the signals with a producer's newest hint, which replaces its last one."""
    before = signals.hints.get(producer)
    if before is None:
        new = min(
            said.committed, said.unconfirmed
        )  # of what it committed before we listened, only these are surely new
    else:
        new = said.committed - before.committed if said.committed >= before.committed else said.committed
    taken_over = said.unconfirmed - (before.unconfirmed if before else 0)  # also what another producer had committed
    return replace(
        signals,
        ledger=signals.ledger.announce(max(new, taken_over), now),
        hints={**signals.hints, producer: said},
        arrivals=count(signals.arrivals, new, now),
        last_work=now if new or said.unconfirmed else signals.last_work,
    )


def hear_beat(signals: Signals, consumer: str, said: Beat, now: datetime) -> Signals:
    """Return the signals with a consumer's newest heartbeat."""
    before = signals.beats.get(consumer)
    if before is None:
        new, seconds = 0, 0.0
    elif said.finished >= before.finished:
        new, seconds = said.finished - before.finished, said.busy_seconds - before.busy_seconds
    else:
        new, seconds = said.finished, said.busy_seconds
    return replace(
        signals,
        beats={**signals.beats, consumer: said},
        runs=average(signals.runs, new, seconds),
        completions=count(signals.completions, new, now),
        last_work=now if new or said.in_flight else signals.last_work,
    )


def forget(signals: Signals, now: datetime) -> Signals:
    """Return the signals that are still in force."""
    hints = {producer: said for producer, said in signals.hints.items() if now - said.at <= HINT_GOOD_FOR}
    beats = {consumer: said for consumer, said in signals.beats.items() if now - said.at <= HEARTBEAT_GOOD_FOR}
    return replace(signals, hints=hints, beats=beats)


def assess(
    signals: Signals,
    live: Depth | None,
    bulk: Depth | None,
    *,
    replicas: int,
    now: datetime,
    source: Reading | None = None,
) -> tuple[Demand, Signals]:
    """Put everything together; return it with the signals to hand back at the next tick."""
    signals = forget(signals, now)
    held = [said.in_flight for said in signals.beats.values()]
    counted = combine(live, bulk, in_flight=sum(held), now=now, one_holds=max(held, default=0), source=source)
    unconfirmed = sum(said.unconfirmed for said in signals.hints.values())
    ledger = signals.ledger.see(counted, bulk, unconfirmed, now)
    signals = replace(signals, ledger=ledger)
    for seen in (live, source[0] if source else None):
        if seen and seen.ready and now - seen.at <= LIVE_GOOD_FOR:
            signals = replace(signals, last_work=max(seen.at, signals.last_work or seen.at))
    more = 0 if counted.total is None else (ledger.counted or 0) - counted.own
    backlog = replace(counted, taken=counted.taken + more, unconfirmed=ledger.announced)
    if backlog.unconfirmed:
        signals = replace(signals, last_work=now)
    arrivals = rate(signals.arrivals, now)
    completions = rate(signals.completions, now) if signals.beats or replicas == 0 else None
    demand = Demand(
        backlog=backlog,
        arrival_rate=arrivals,
        completion_rate=completions,
        oldest_age=_oldest_age(signals, backlog, now),
        drain_eta=drain_seconds(backlog.total, arrivals, completions),
        last_work=signals.last_work,
        leveret_version=oldest(said.version for said in signals.beats.values()),
    )
    return demand, signals


def _oldest_age(signals: Signals, backlog: Backlog, now: datetime) -> float | None:
    times = [said.oldest_waiting_since for said in signals.hints.values() if said.oldest_waiting_since is not None]
    if not times or backlog.total == 0:
        return None
    return max(0.0, (now - min(times)).total_seconds())
