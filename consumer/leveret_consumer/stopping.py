"""Being asked to stop, and the order in which a consumer does."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)


class Stop:
    """Two flags: the first asks for a graceful end, the second for an end at once. `now` is a clock that counts seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._asked_at = 0.0
        self._signals = 0
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()
        self.because = ""
        self.exit_code = 0

    def ask(self, because: str, exit_code: int = 0) -> None:
        """Ask for a graceful end; the largest exit code that anybody asked for is the process's."""
        self.exit_code = max(self.exit_code, exit_code)
        if not self.asked.is_set():
            self.because = because
            self._asked_at = self._now()
            self.asked.set()

    def left(self, seconds: float) -> float:
        """Return what is left of so many seconds, which began when a stop was asked for; 0 if they are over."""
        return max(0.0, self._asked_at + seconds - self._now())

    def signalled(self, name: str) -> None:
        """SIGTERM or SIGINT; the second one ends the process without waiting for jobs.

        The first may come in a drain that began by itself, and then it asks for nothing more.
        """
        self._signals += 1
        if self._signals > 1:
            log.warning("a second signal: ends at once, and running jobs go back to the queue", signal=name)
            self.exit_code = max(self.exit_code, 1)
            self.at_once.set()
        self.ask(f"signal {name}")


class Drainable(Protocol):
    """What `drain` stops."""

    async def turn_unready(self) -> None: ...

    def cancel_consumers(self) -> None: ...

    async def give_back_waiting(self) -> int: ...

    async def finish_running(self, within: float) -> bool: ...

    async def give_back_running(self) -> int: ...

    async def flush_events(self) -> None: ...


async def drain(session: Drainable, left: Callable[[], float]) -> None:
    """Stop, losing nothing; `left` tells how many seconds running jobs still have. The broker's heartbeats go on all along."""
    # First, because whoever asks from now on, the operator too, must not count on this consumer.
    await session.turn_unready()
    # Before anything goes back, because the broker would send it straight here again. Its answer is not waited for: under an
    # alarm that comes when the alarm is over, and what waits here would take the slots that get free until then.
    session.cancel_consumers()
    # Next, because others can start these at once; their wait should not be ours.
    given_back = await session.give_back_waiting()
    # Most of the time is for this: a job that ends here is a job that nobody runs twice.
    if not await session.finish_running(left()):
        # nack, because a reject would count as a failure of the job. Now, because SIGKILL comes next.
        given_back += await session.give_back_running()
    # Last, because the jobs' ends are in them; the connection closes only after their confirms.
    await session.flush_events()
    log.info("drained", given_back=given_back)
