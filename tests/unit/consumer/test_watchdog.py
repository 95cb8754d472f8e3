"""The watchdog of the event loop: stories with a moving clock, what holds for any of them, and one real process."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from leveret_consumer.consumer import HEARTBEAT
from leveret_consumer.watchdog import Finding, Limits, Watchdog, Watched, look

LIMITS = Limits()


@dataclass
class Story:
    """A loop that turns when it's told to, and a watchdog that looks every half second."""

    now: float = 100.0
    turns: bool = True
    waiting: list[Callable[[], None]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dog = Watchdog(self.ping, lambda: ["job-1"], clock=lambda: self.now, end=self.ends.append)

    def ping(self, turn: Callable[[], None]) -> None:
        self.waiting.append(turn)

    def passes(self, seconds: float) -> list[Finding]:
        """What the looks of these seconds find, without repetitions."""
        found: list[Finding] = []
        for _ in range(int(seconds * 2)):
            self.now += 0.5
            self.loop_turns()
            finding = self.dog.look()
            found += [finding] if found[-1:] != [finding] else []
        return found

    def loop_turns(self) -> None:
        while self.turns and self.waiting:
            self.waiting.pop()()


def test_a_loop_that_turns_is_fine_for_ever_and_is_asked_once_at_a_time() -> None:
    story = Story()
    assert story.passes(600) == [Finding.FINE]
    assert len(story.waiting) == 1


def test_a_block_of_less_than_5_s_is_not_told() -> None:
    story = Story()
    story.passes(10)
    story.turns = False
    assert story.passes(4.5) == [Finding.FINE]
    story.turns = True
    assert story.passes(10) == [Finding.FINE]


def test_a_longer_one_is_told_once_and_its_end_too() -> None:
    story = Story()
    story.passes(10)
    story.turns = False
    assert story.passes(45) == [Finding.FINE, Finding.BLOCKED, Finding.STILL_BLOCKED]
    story.turns = True
    assert story.passes(10) == [Finding.TURNS_AGAIN, Finding.FINE]
    story.turns = False
    assert story.passes(10) == [Finding.FINE, Finding.BLOCKED, Finding.STILL_BLOCKED]
    assert story.ends == []


def test_after_50_s_the_process_ends_with_70() -> None:
    story = Story()
    story.passes(10)
    story.turns = False
    story.passes(49.5)
    assert story.ends == []
    assert story.passes(0.5) == [Finding.TOO_LONG]
    assert story.ends == [70]


def test_a_process_that_was_frozen_has_blocked_nothing() -> None:
    story = Story()
    story.passes(10)
    story.turns = False
    story.now += 3600
    assert story.passes(2) == [Finding.FINE]
    story.turns = True
    assert story.passes(10) == [Finding.FINE]


def test_a_loop_that_is_closed_is_no_error() -> None:
    def closed(turn: Callable[[], None]) -> None:
        raise RuntimeError("Event loop is closed")

    dog = Watchdog(closed, list, end=lambda code: None)
    assert dog.look() is Finding.FINE


looks = st.lists(st.tuples(st.booleans(), st.floats(-10, 100)), max_size=300)


@given(looks)
def test_nothing_is_told_or_ended_before_its_time(steps: list[tuple[bool, float]]) -> None:
    seen, awake = Watched(0.0), 0.0
    for turned, passed in steps:
        before, seen = seen, look(seen, turned, seen.at + passed, LIMITS)
        awake = 0.0 if turned else awake + min(max(passed, 0.0), LIMITS.longest_look)
        told = seen.finding in {Finding.BLOCKED, Finding.STILL_BLOCKED}
        assert told <= (awake >= LIMITS.says_after - 1e-6)
        assert (seen.finding is Finding.TOO_LONG) <= (awake >= LIMITS.ends_after - 1e-6)
        assert (seen.finding is Finding.BLOCKED) <= (before.finding is not Finding.BLOCKED)
        assert not turned or seen.finding in {Finding.FINE, Finding.TURNS_AGAIN}


BLOCKS = """
import asyncio, time, uvloop
from leveret.telemetry.logs import configure_logs
from leveret_consumer.consumer import HEARTBEAT
from leveret_consumer.watchdog import Limits, Watchdog

def stuck_in_a_handler():
    time.sleep(60)

async def main():
    limits = Limits(says_after=2, ends_after=5)
    dog = Watchdog(asyncio.get_running_loop().call_soon_threadsafe, lambda: ["job-1", "job-2"], limits=limits)
    dog.start()
    await asyncio.sleep(1.2)
    stuck_in_a_handler()

configure_logs("json")
uvloop.run(main())
"""


def test_a_process_whose_loop_is_blocked_says_where_and_ends() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKS], capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 70
    told, ended = done.stderr.splitlines()
    for line, level in ((told, "warning"), (ended, "error")):
        assert f'"level": "{level}"' in line
        assert "in stuck_in_a_handler" in line
        assert '"jobs": ["job-1", "job-2"]' in line


def test_a_blocked_loop_ends_the_process_before_the_broker_gives_its_jobs_away() -> None:
    last_sent_before, looks_in_a_row = HEARTBEAT / 2, 2
    assert LIMITS.ends_after + LIMITS.longest_look < looks_in_a_row * HEARTBEAT - last_sent_before
