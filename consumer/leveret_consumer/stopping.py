"""Being asked to stop, and the order in which a consumer does."""

import asyncio
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)


class Stop:
    """Two flags: the first asks for a graceful end, the second for an end at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()
        self.because = ""
        self.exit_code = 0

    def ask(self, because: str, exit_code: int = 0) -> None:
        """Ask for a graceful end; the largest exit code that anybody asked for is the process's."""
        self.exit_code = max(self.exit_code, exit_code)
        if not self.asked.is_set():
            self.because = because
            self.asked.set()

    def signalled(self, name: str) -> None:
        """SIGTERM or SIGINT; the second one ends the process without waiting for jobs."""
        if self.asked.is_set():
            log.warning("a second signal: ends at once, and running jobs go back to the queue", signal=name)
            self.exit_code = max(self.exit_code, 1)
            self.at_once.set()
        self.ask(f"signal {name}")


class Drainable(Protocol):
    """What `drain` stops."""

    async def turn_unready(self) -> None: ...

    async def cancel_consumers(self) -> None: ...

    async def give_back_waiting(self) -> int: ...

    async def finish_running(self, within: float) -> bool: ...

    async def give_back_running(self) -> int: ...

    async def flush_events(self) -> None: ...


async def drain(session: Drainable, grace: float) -> None:
    """Stop within `grace` seconds and a little, losing nothing. The broker's heartbeats go on all along."""
    # First, because whoever asks from now on, the operator too, must not count on this consumer.
    await session.turn_unready()
    # Before anything goes back, because the broker would send it straight here again.
    await session.cancel_consumers()
    # Next, because others can start these at once; their wait should not be ours.
    given_back = await session.give_back_waiting()
    # Most of the time is for this: a job that ends here is a job that nobody runs twice.
    if not await session.finish_running(grace):
        # nack, because a reject would count as a failure of the job. Now, because SIGKILL comes next.
        given_back += await session.give_back_running()
    # Last, because the jobs' ends are in them; the connection closes only after their confirms.
    await session.flush_events()
    log.info("drained", given_back=given_back)
