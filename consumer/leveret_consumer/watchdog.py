"""A thread that notices when the event loop does not turn: a handler that computes or waits on it without `await`.

Nothing else moves meanwhile: no other job, no answer to the broker. After 5 s the log names the place and the jobs, once;
after 50 s the process ends, before the broker misses our heartbeats and gives the jobs away while they go on here.
Only time in which this thread itself was awake counts: a process that was frozen has blocked nothing.
"""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from enum import Enum, auto
from threading import Event, Thread, get_ident

import msgspec
import structlog

log = structlog.get_logger(__name__)

EXIT_CODE = 70  # as sysexits.h has it for an internal error
LOOKS_EVERY = 0.5  # s
SAYS_WITHIN = 2.0  # s; the blocked loop may hold the lock of the log
MOST_FRAMES = 30  # the innermost
MOST_JOBS = 50

Ping = Callable[[Callable[[], None]], object]  # have the loop call this; RuntimeError once it's closed


class Limits(msgspec.Struct, frozen=True):
    says_after: float = 5.0  # s
    ends_after: float = 50.0  # s, before the broker hangs up, see `consumer.HEARTBEAT`
    longest_look: float = 2 * LOOKS_EVERY  # s that one look counts at most


LIMITS = Limits()


class Finding(Enum):
    FINE = auto()
    BLOCKED = auto()  # told once
    STILL_BLOCKED = auto()
    TURNS_AGAIN = auto()
    TOO_LONG = auto()


class Watched(msgspec.Struct, frozen=True):
    """What is known of the loop after a look at it."""

    at: float  # of the look
    blocked: float = 0.0  # s without a turn
    finding: Finding = Finding.FINE


def look(before: Watched, turned: bool, now: float, limits: Limits) -> Watched:
    """Return what a look at `now` finds, given whether the loop has turned since the one before."""
    if turned:
        was_told = before.finding in {Finding.BLOCKED, Finding.STILL_BLOCKED}
        return Watched(now, 0.0, Finding.TURNS_AGAIN if was_told else Finding.FINE)
    blocked = before.blocked + min(max(now - before.at, 0.0), limits.longest_look)
    if blocked >= limits.ends_after:
        return Watched(now, blocked, Finding.TOO_LONG)
    if blocked < limits.says_after:
        return Watched(now, blocked)
    return Watched(now, blocked, Finding.BLOCKED if before.blocked < limits.says_after else Finding.STILL_BLOCKED)


class Watchdog:
    """Made in the thread of the loop that it watches."""

    def __init__(
        self,
        ping: Ping,
        jobs: Callable[[], list[str]],
        *,
        limits: Limits = LIMITS,
        clock: Callable[[], float] = time.monotonic,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """`ping` is the loop's `call_soon_threadsafe`, `jobs` tells the ids of those that are on the loop."""
        self._ping, self._jobs, self._limits, self._clock, self._end = ping, jobs, limits, clock, end
        self._loops_thread = get_ident()
        self._turned = True
        self._seen = Watched(clock())
        self._closing = Event()
        self._thread = Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def look(self) -> Finding:
        """Look at the loop once, and do what the finding asks for."""
        before = self._seen.blocked
        turned = self._turned
        self._seen = look(self._seen, turned, self._clock(), self._limits)
        if turned:
            self._turned = False
            with contextlib.suppress(RuntimeError):  # closed: then this thread is about to be as well
                self._ping(self._note_turn)
        match self._seen.finding:
            case Finding.BLOCKED:
                _say(self._tell_blocked)
            case Finding.TURNS_AGAIN:
                log.info("the event loop turns again", blocked_seconds=round(before, 1))
            case Finding.TOO_LONG:
                _say(self._tell_end)
                self._end(EXIT_CODE)
            case Finding.FINE | Finding.STILL_BLOCKED:
                pass
        return self._seen.finding

    def _run(self) -> None:
        while not self._closing.wait(LOOKS_EVERY):
            self.look()

    def _note_turn(self) -> None:
        self._turned = True

    def _tell_blocked(self) -> None:
        log.warning(
            "a handler blocks the event loop: no other job of this consumer goes on, and the broker gets no answer; "
            "make it a plain def or cpu=True",
            **self._where(),
        )

    def _tell_end(self) -> None:
        log.error(
            "the event loop was blocked for too long: this consumer ends, and the broker gives its jobs to others; "
            "make the handler a plain def or cpu=True",
            exit_code=EXIT_CODE,
            **self._where(),
        )

    def _where(self) -> dict[str, object]:
        frame = sys._current_frames().get(self._loops_thread)
        jobs = self._jobs()
        return {
            "blocked_seconds": round(self._seen.blocked, 1),
            "jobs": jobs[:MOST_JOBS],
            "more_jobs": max(0, len(jobs) - MOST_JOBS),
            "stack": "".join(traceback.format_stack(frame, MOST_FRAMES)) if frame else None,
        }


def _say(what: Callable[[], None]) -> None:
    """Log from a thread of its own: one that never comes to its end must not keep the watchdog from its duty."""
    saying = Thread(target=what, name="watchdog-log", daemon=True)
    saying.start()
    saying.join(SAYS_WITHIN)
