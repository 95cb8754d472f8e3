"""The slots of this process and how busy they are: what metrics tell, and the heartbeats that the operator gets.

No slot is given while the process must not start anything (`pause`): whatever waits for one goes on waiting.

A slot is free again when its work has really ended: a thread that outlives its time-out keeps its slot. An attempt that
ended before it had any work, cancelled before its first step perhaps, frees its slot itself.

A heartbeat is sent every 5 s, and at once when this consumer turns idle, busy or starts to stop, but at most twice a second:
many short jobs turn a consumer idle and busy hundreds of times a second. Not persistent, not confirmed: the next one replaces
it.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from leveret.signals import Heartbeat
from leveret.version import VERSION

EVERY = 5.0  # s
AT_MOST_EVERY = 0.5  # s

Send = Callable[[Heartbeat], Awaitable[None]]


@dataclass(slots=True)
class Counts:
    """Attempts since the start, however they ended."""

    attempts: int = 0
    busy_seconds: float = 0.0


class Slot:
    """One that is taken, by an attempt; from when there is work, it's the work's."""

    __slots__ = ("_has_work", "_release")

    def __init__(self, release: Callable[[], None]) -> None:
        self._release, self._has_work = release, False

    def give_to(self, done: "asyncio.Future[Any]") -> None:
        """Free it once the attempt's work has ended."""
        self._has_work = True
        done.add_done_callback(lambda _: self._release())

    def attempt_ended(self, _: object = None) -> None:
        """Free it now if the attempt never had any work; for the done-callbacks of its task."""
        if not self._has_work:
            self._release()


Claim = Callable[[Slot], bool]  # tells whether it takes the slot: whoever waits no longer doesn't


class Load:
    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.busy = 0  # slots with work in them
        self.held = 0  # deliveries that are not acknowledged, the waiting ones included
        self.finished = Counts()
        self.replies_dropped: Counter[str] = Counter()  # by reason
        self.turned = asyncio.Event()  # idle → busy or busy → idle; whoever looks clears it
        self._waiting: deque[Claim] = deque()
        self._given = slots  # at most

    def pause(self) -> None:
        """Give no slot; what has one keeps it."""
        self._given = 0

    def resume(self) -> None:
        self._given = self.slots
        self._give_waiting()

    async def take(self) -> Slot:
        """Wait for a free slot and take it, first come, first served."""
        taken: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()

        def take(slot: Slot) -> bool:
            if taken.done():
                return False
            taken.set_result(slot)
            return True

        self.claim(take)
        try:
            return await taken
        except asyncio.CancelledError:
            if taken.done() and not taken.cancelled():  # in the moment in which it came
                taken.result().attempt_ended()
            raise

    def claim(self, take: Claim) -> None:
        """Call `take` with a slot, now or when it is its turn."""
        if self.busy < self._given:
            self._give(take)
        else:
            self._waiting.append(take)

    def _give(self, take: Claim) -> None:
        self.busy += 1
        if not take(Slot(self._release)):
            self.busy -= 1

    def _release(self) -> None:
        self.busy -= 1
        self._give_waiting()

    def _give_waiting(self) -> None:
        while self._waiting and self.busy < self._given:
            self._give(self._waiting.popleft())

    def hold(self) -> None:
        self.held += 1
        if self.held == 1:
            self.turned.set()

    def let_go(self) -> None:
        self.held -= 1
        if self.held == 0:
            self.turned.set()

    def dropped(self, reason: str, _: str = "") -> None:
        """Count a reply that was dropped; there is one queue."""
        self.replies_dropped[reason] += 1

    def count(self, seconds: float) -> None:
        """Note an attempt that ended."""
        self.finished.attempts += 1
        self.finished.busy_seconds += seconds


class Heartbeats:
    def __init__(self, consumer: str, queue: str, load: Load, now: Callable[[], datetime]) -> None:
        self._consumer, self._queue, self._load, self._now = consumer, queue, load, now
        self._stopping = False
        self._send: Send | None = None

    def beat(self) -> Heartbeat:
        load = self._load
        return Heartbeat(
            consumer=self._consumer,
            queue=self._queue,
            at=self._now(),
            slots=load.slots,
            in_flight=load.held,
            finished=load.finished.attempts,
            busy_seconds=round(load.finished.busy_seconds, 6),
            stopping=self._stopping,
            leveret=VERSION,
        )

    async def stopping(self) -> None:
        """Tell at once that this consumer is about to stop, and call it again when it has."""
        self._stopping = True
        if self._send:
            await self._send(self.beat())

    async def run(self, send: Send) -> None:
        """Send heartbeats until cancelled."""
        self._send = send
        while True:
            self._load.turned.clear()
            await send(self.beat())
            await asyncio.sleep(AT_MOST_EVERY)
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`: it forgets that it was cancelled if what it waits for happens in the same moment.
                async with asyncio.timeout(EVERY - AT_MOST_EVERY):
                    await self._load.turned.wait()
