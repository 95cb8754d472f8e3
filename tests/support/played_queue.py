"""A queue that is played on a clock of its own, as the operator gets to see it: late, in parts, and at different moments.

Producers commit at once, publish some jobs a second and hint as real ones do; pods boot, take jobs and report every 5 s;
the broker writes its numbers every 5 s, they are read every 5 s, and they are 0 until they were written first.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from leveret.scaling.backlog import Depth, Reading
from leveret.scaling.decide import Decision, Policy
from leveret.scaling.demand import Beat, Hinted, Signals, hear_beat, hear_hint
from leveret.scaling.gathering import LOOK_AGAIN, Gathering, gather, wait_for_more
from leveret.scaling.memory import begin, look

START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = 0.05  # s
EVERY = 5.0  # s: of the broker's writing, of its being read, and of heartbeats


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


@dataclass
class Producer:
    committed: int = 0
    waiting: int = 0  # in its outbox
    said: float | None = None  # when it hinted last
    owed: bool = False

    def due(self, now: float) -> bool:
        return (self.owed or self.waiting > 0) and (self.said is None or now - self.said >= 1)


@dataclass
class Pod:
    name: str
    ready_at: float
    runs: list[tuple[float, int]] = field(default_factory=list)  # when they end, and how many
    finished: int = 0
    said: float | None = None
    busy: bool = False

    @property
    def held(self) -> int:
        return sum(jobs for _, jobs in self.runs)


@dataclass(frozen=True)
class Write:
    second: float
    before: int
    after: int
    backlog: int  # the true one


@dataclass(frozen=True)
class Looked:
    second: float
    lately: int  # the most that the true backlog was in the last 20 s
    seen: int | None
    decision: Decision


@dataclass
class PlayedQueue:
    hears: Callable[[Callable[[Signals, datetime], Signals]], None]  # is handed what to make of the signals so far
    producers: int = 1
    publishes: float = 5_000.0  # jobs/s of one producer
    slots: int = 100
    lasts: float = 60.0  # s, a job
    boots: float = 3.0  # s
    takes: float = 1_000.0  # jobs/s of one pod
    written: float = 0.0  # phase of the broker's writing, s
    read: float = 0.0  # phase of its being read, s
    late: float = 0.0  # s that a hint is under way
    times: int = 1  # that each hint arrives
    now: float = 0.0
    ready: int = 0
    ended: int = 0
    row: tuple[int, int] = (0, 0)
    bulk: Depth | None = None
    pods: list[Pod] = field(default_factory=list)
    stopping: list[Pod] = field(default_factory=list)  # they finish what runs
    hinted: bool = False  # whether work was told of since that was last looked at

    def __post_init__(self) -> None:
        self.posts = [Producer() for _ in range(self.producers)]
        self.under_way: list[tuple[float, str, int, int]] = []
        self._made = 0
        self._names = [f"p{number}" for number in range(self.producers)]

    @property
    def unacked(self) -> int:
        return sum(pod.held for pod in (*self.pods, *self.stopping))

    @property
    def backlog(self) -> int:
        """What isn't finished."""
        return self.ready + self.unacked + sum(post.waiting for post in self.posts)

    @property
    def depths(self) -> Reading:
        return Depth(at(self.now), self.ready), self.bulk

    def commit(self, producer: int, jobs: int) -> None:
        post = self.posts[producer]
        post.committed += jobs
        post.waiting += jobs
        post.owed = True

    def restart(self, producer: int) -> None:
        """It counts from 0, and finds what is in its outbox."""
        self.posts[producer] = Producer(waiting=self.posts[producer].waiting, owed=True)

    def purge(self) -> None:
        """Nothing waits any more, and what runs ends."""
        self.ready = 0
        for post in self.posts:
            post.waiting = 0
        for pod in (*self.pods, *self.stopping):
            pod.runs = [(self.now, pod.held)]

    def scale(self, replicas: int) -> None:
        while len(self.pods) < replicas:
            self._made += 1
            self.pods.append(Pod(f"c{self._made}", self.now + self.boots))
        self.stopping += self.pods[replicas:]
        del self.pods[replicas:]

    def step(self) -> None:
        self.now = round(self.now + STEP, 2)
        for name, post in zip(self._names, self.posts, strict=True):
            if post.due(self.now):
                post.said, post.owed = self.now, post.waiting > 0
                self.under_way += [(self.now + self.late, name, post.committed, post.waiting)] * self.times
            sent = min(post.waiting, round(self.publishes * STEP))
            post.waiting -= sent
            self.ready += sent
        for pod in self.pods:
            self._run(pod, self.slots)
        for pod in self.stopping:
            self._run(pod, 0)
        self.stopping = [pod for pod in self.stopping if pod.held]
        if self._due(self.written):
            self.row = (self.ready, self.unacked)
        if self._due(self.read):
            self.bulk = Depth(at(self.now), *self.row)
        arrived = [hint for hint in self.under_way if hint[0] <= self.now]
        self.under_way = [hint for hint in self.under_way if hint[0] > self.now]
        for _, name, committed, waiting in arrived:
            self._hear_hint(name, Hinted(at(self.now), committed, waiting, None))

    def _hear_hint(self, name: str, said: Hinted) -> None:
        def heard(signals: Signals, now: datetime) -> Signals:
            after = hear_hint(signals, name, said, now)
            self.hinted = self.hinted or after.last_work == now
            return after

        self.hears(heard)

    def _run(self, pod: Pod, slots: int) -> None:
        if self.now < pod.ready_at:
            return
        done = sum(jobs for end, jobs in pod.runs if end <= self.now)
        pod.runs = [run for run in pod.runs if run[0] > self.now]
        pod.finished += done
        self.ended += done
        took = min(self.ready, max(0, slots - pod.held), round(self.takes * STEP))
        if took:
            self.ready -= took
            pod.runs.append((self.now + self.lasts, took))
        first = 1 if took and not pod.busy else pod.held  # at once when it turns busy: with the first in its hand
        if (pod.held > 0) != pod.busy or pod.said is None or self.now - pod.said >= EVERY:
            pod.busy, pod.said = pod.held > 0, self.now
            said = Beat(at(self.now), first, pod.finished)
            self.hears(lambda signals, now: hear_beat(signals, pod.name, said, now))

    def _due(self, phase: float) -> bool:
        since = (self.now - phase) % EVERY
        return self.now >= phase and (since < STEP / 2 or since > EVERY - STEP / 2)


class PlayedOperator:
    """Looks every second, and 150 ms after work was told of, on while it grows; writes what it decides."""

    def __init__(self, policy: Policy, *, replicas: int = 0, **world: float) -> None:
        self.policy, self.memory = policy, begin(replicas, START)
        self.queue = PlayedQueue(self._hears, **world)  # type: ignore[arg-type]
        self.queue.scale(replicas)
        for pod in self.queue.pods:
            pod.ready_at = 0.0
        self.writes: list[Write] = []
        self.looks: list[Looked] = []
        self._true: deque[int] = deque(maxlen=round(20 / STEP))
        self._due: float | None = None
        self._gathering: Gathering | None = None

    @property
    def replicas(self) -> int:
        return len(self.queue.pods)

    def _hears(self, heard: Callable[[Signals, datetime], Signals]) -> None:
        before = self.memory.signals
        self.memory = replace(self.memory, signals=heard(before, at(self.queue.now)))
        if self.queue.hinted:
            self._gathering = gather(self._gathering, before, at(self.queue.now))

    def until(self, second: float, *, known: bool = True) -> "PlayedOperator":
        queue = self.queue
        while queue.now < second:
            self._true.append(queue.backlog)
            queue.step()
            if queue.hinted and self._due is None:
                self._due = round(queue.now + 0.15, 2)
            queue.hinted = False
            whole = abs(queue.now - round(queue.now)) < STEP / 2
            if (self._due is None and whole) or (self._due is not None and queue.now >= self._due):
                self._due = None
                self._look(known)
        return self

    def _look(self, known: bool) -> None:
        queue, before = self.queue, self.replicas
        live, bulk = queue.depths
        seen = look(self.policy, self.memory, (live, bulk if known else None), replicas=before, now=at(queue.now))
        self.memory = seen.memory
        self._gathering = wait_for_more(self._gathering, seen.observation, seen.decision)
        if self._gathering is not None:
            self._due = round(queue.now + LOOK_AGAIN.total_seconds(), 2)
            return
        self.looks.append(Looked(queue.now, max(self._true), seen.demand.backlog.total, seen.decision))
        if seen.decision.replicas != before:
            self.writes.append(Write(queue.now, before, seen.decision.replicas, queue.backlog))
            queue.scale(seen.decision.replicas)
