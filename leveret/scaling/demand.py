"""What producers and consumers last said about one queue, and what follows from it with the broker's numbers.

A hint is in force for 10 s and a heartbeat for 15 s after it *arrived*: the sender's clock may be wrong. Jobs that a
hint calls unconfirmed soon show up in the broker's count, too; what the count has risen by since the hint arrived is
taken off, so that a burst is not counted twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from leveret.scaling.backlog import LIVE_GOOD_FOR, Backlog, Depth, Reading, combine
from leveret.scaling.rates import NO_RUNS, Mean, Meter, average, count, drain_seconds, rate
from leveret.version import oldest

HINT_GOOD_FOR = timedelta(seconds=10)
HEARTBEAT_GOOD_FOR = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Hinted:
    """The last hint of one producer."""

    at: datetime  # when it arrived
    committed: int
    unconfirmed: int
    oldest_waiting_since: datetime | None
    base: int  # what the broker counted when it arrived
    peak: int  # the most that the broker has counted since

    @property
    def left(self) -> int:
        """How many are surely not in the broker's count yet."""
        return max(0, self.unconfirmed - (self.peak - self.base))


@dataclass(frozen=True, slots=True)
class Beat:
    """The last heartbeat of one consumer."""

    at: datetime  # when it arrived
    in_flight: int
    finished: int
    version: str | None = None  # of Leveret, as it was told
    busy_seconds: float = 0.0  # spent in those that finished


@dataclass(frozen=True, slots=True)
class Signals:
    """All that was said about one queue and still counts."""

    arrivals: Meter
    completions: Meter
    hints: Mapping[str, Hinted] = field(default_factory=dict)
    beats: Mapping[str, Beat] = field(default_factory=dict)
    last_work: datetime | None = None
    runs: Mean = NO_RUNS


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
    return replace(
        signals,
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


def forget(signals: Signals, broker_count: int | None, now: datetime) -> Signals:
    """Return the signals that are still in force, with the broker's newest count set against the hints."""
    hints = {
        producer: said if broker_count is None or broker_count <= said.peak else replace(said, peak=broker_count)
        for producer, said in signals.hints.items()
        if now - said.at <= HINT_GOOD_FOR
    }
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
    held = [said.in_flight for said in signals.beats.values() if now - said.at <= HEARTBEAT_GOOD_FOR]
    one_holds = max(held, default=0)
    counted = combine(live, bulk, in_flight=sum(held), unconfirmed=0, now=now, one_holds=one_holds, source=source)
    signals = forget(signals, counted.total if counted.total is not None else counted.ready, now)
    for seen in (live, source[0] if source else None):
        if seen and seen.ready and now - seen.at <= LIVE_GOOD_FOR:
            signals = replace(signals, last_work=max(seen.at, signals.last_work or seen.at))
    backlog = replace(counted, unconfirmed=sum(said.left for said in signals.hints.values()))
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
