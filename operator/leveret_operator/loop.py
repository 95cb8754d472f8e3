"""The central loop: a turn for every JobQueue each second, and at once when something calls for it.

Turns of different JobQueues run side by side and one's failure or slowness is its own. A JobQueue never has two turns at
a time; what happens during a turn gets another one right after. A hint waits 150 ms, and on while the queue grows, so that
what comes with it is answered in one write.
"""

import asyncio
from datetime import datetime, timedelta

import structlog

from leveret.scaling.demand import Beat, Hinted, hear_beat, hear_hint
from leveret.scaling.gathering import LOOK_AGAIN, gather
from leveret.scaling.memory import begin
from leveret.signals import Heartbeat, Hint, Signal
from leveret_operator.available import recall
from leveret_operator.dead_letter_sources import source_of
from leveret_operator.jobqueue import JobQueue, Recorded
from leveret_operator.kept import Kept
from leveret_operator.kubernetes_api import ApiGone, NotHeld
from leveret_operator.queue_names import without_queue
from leveret_operator.tools import Tools
from leveret_operator.turn import take_turn

log = structlog.get_logger(__name__)

TICK = 1.0  # s
GATHER = timedelta(milliseconds=150)
OLDEST_WORK = timedelta(seconds=10)  # a producer's clock may be wrong; further back is not believed


class CentralLoop:
    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._by_queue: dict[str, Kept] = {}
        self._turns: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._woken: set[str] = set()
        self._wake = asyncio.Event()
        self._tools: Tools | None = None

    async def run(self, tools: Tools) -> None:
        """Turn until cancelled, then let no turn go on."""
        self._tools = tools
        try:
            while True:
                self._match_registry(tools)
                tools.announcements.list_all(tools.registry.queues, tools.clock())
                for name in self._kept:
                    self._start(name, tools)
                await self._until_next_tick(tools)
        finally:
            for turn in self._turns.values():
                turn.cancel()
            await asyncio.gather(*self._turns.values(), return_exceptions=True)

    def wake(self, name: str) -> None:
        """Give one JobQueue a turn now."""
        self._woken.add(name)
        self._wake.set()

    def wake_all(self) -> None:
        for name in self._kept:
            self.wake(name)

    def hear(self, signal: Signal) -> None:
        """Take a signal; a hint of new work gets a turn in 150 ms."""
        kept, tools = self._by_queue.get(signal.queue), self._tools
        if kept is None or tools is None:
            return
        now, signals = tools.clock(), kept.memory.signals
        match signal:
            case Heartbeat():
                if signal.consumer not in signals.beats:  # it has just begun, and knows nothing yet
                    tools.versions.tell_again(signal.queue)
                said = Beat(now, signal.in_flight, signal.finished, signal.leveret, signal.busy_seconds)
                signals = hear_beat(signals, signal.consumer, said, now)
            case Hint():
                told = Hinted(now, signal.committed, signal.unconfirmed, signal.oldest_waiting_since)
                signals = hear_hint(signals, signal.producer, told, now)
                if signals.last_work == now:
                    self._expect_more(kept, signal.at, now)
        kept.hear(signals)

    def _expect_more(self, kept: Kept, since: datetime, now: datetime) -> None:
        if kept.work_since is None:
            kept.work_since = min(now, max(since, now - OLDEST_WORK))
        kept.gathering = gather(kept.gathering, kept.memory.signals, now)
        if kept.look_at is None:
            self._look_in(GATHER, kept, now)

    def _look_in(self, wait: timedelta, kept: Kept, now: datetime) -> None:
        kept.look_at = now + wait
        asyncio.get_running_loop().call_later(wait.total_seconds(), self.wake, kept.jobqueue.name)

    async def _until_next_tick(self, tools: Tools) -> None:
        """Start turns that are asked for, until a second is over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + TICK
        while (left := end - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                return
            self._wake.clear()
            woken, self._woken = self._woken, set()
            self._match_registry(tools)
            for name in woken & self._kept.keys():
                self._start(name, tools)

    def _match_registry(self, tools: Tools) -> None:
        """Keep something of each JobQueue there is, and nothing of others; see to who has which queue."""
        there = tools.registry.jobqueues
        if {name: kept.jobqueue for name, kept in self._kept.items()} == there:
            return
        for name, kept in list(self._kept.items()):
            if name not in there or there[name].uid != kept.jobqueue.uid:
                self._let_go(kept, tools)
        for name, jobqueue in there.items():
            if name not in self._kept:
                self._keep(jobqueue, tools)
            elif self._kept[name].jobqueue != jobqueue:
                self._kept[name].jobqueue = jobqueue
        self._assign_queues(tools)

    def _assign_queues(self, tools: Tools) -> None:
        """Tell each which queue is its own, and where its consumers take dead letters from."""
        refused = without_queue((kept.jobqueue for kept in self._kept.values()), tools.allowed_names)
        for name, kept in self._kept.items():
            no_queue = refused.get(kept.jobqueue.uid)
            if no_queue is not None and kept.no_queue is None and name in self._turns:
                self._turns.pop(name).cancel()  # it must not speak of a queue that has turned out to be another's
            kept.no_queue = no_queue
        having = {name: kept for name, kept in self._kept.items() if kept.no_queue is None}
        self._by_queue = {kept.jobqueue.queue: kept for kept in having.values()}
        tools.versions.keep_only(self._by_queue)
        jobqueues = {name: kept.jobqueue for name, kept in having.items()}
        for kept in self._kept.values():
            kept.source = source_of(kept.jobqueue, jobqueues)

    def _let_go(self, kept: Kept, tools: Tools) -> None:
        name, queue = kept.jobqueue.name, kept.jobqueue.queue
        del self._kept[name]
        if (turn := self._turns.pop(name, None)) is not None:
            turn.cancel()  # it must not speak of the queue after it was called removed
        if kept.no_queue is None:
            tools.announcements.remove(queue, tools.clock())
            tools.metrics.forget(queue)
        log.info("JobQueue is gone; its queues stay on the broker", queue=queue)

    def _keep(self, jobqueue: JobQueue, tools: Tools) -> None:
        recorded = tools.registry.recorded.get(jobqueue.uid, Recorded())
        now = tools.clock()
        kept = Kept(jobqueue, recorded.conditions, recorded.decisions, begin(0, now), since=now)
        kept.recorded_generation = next((one.generation for one in recorded.conditions), None)
        kept.availability = recall(recorded.conditions)
        kept.contests.begin(recorded.conditions, now)
        self._kept[jobqueue.name] = kept

    def _start(self, name: str, tools: Tools) -> None:
        kept, running = self._kept[name], self._turns.get(name)
        if kept.look_at is not None and tools.clock() < kept.look_at:
            return  # its turn is about to come
        if running is not None and not running.done():
            self._again.add(name)
            return
        kept.look_at = None
        self._turns[name] = asyncio.create_task(self._turn(kept, tools), name=f"turn of {name}")

    async def _turn(self, kept: Kept, tools: Tools) -> None:
        """The one broad except: whatever happens in a turn, the next one comes."""
        name = kept.jobqueue.name
        try:
            await take_turn(kept, tools)
            if kept.gathering is not None and kept.look_at is None:
                self._look_in(LOOK_AGAIN, kept, tools.clock())
        except NotHeld:
            log.debug("the Lease is not held; the turn is taken again", queue=name)
        except ApiGone as problem:
            tools.metrics.turn_failed(kept.jobqueue.queue)
            log.warning("the Kubernetes API doesn't answer; the turn is taken again", queue=name, because=str(problem))
        except Exception:
            tools.metrics.turn_failed(kept.jobqueue.queue)
            log.exception("a turn failed; the next one is taken in a second", queue=name)
        if name in self._again:
            self._again.discard(name)
            self.wake(name)
