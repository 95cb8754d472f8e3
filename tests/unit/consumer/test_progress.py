"""Progress on a moving clock: about two reports a second, each at a later time than the one before, and always the last value."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from leveret.events import Progress
from leveret.jobs import Envelope
from leveret_consumer.job_events import Telling
from leveret_consumer.progress import Thinned

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


class Clock:
    """As much of an event loop as is needed, with a time that moves by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.soon: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_soon_threadsafe(self, call: Callable[[], None]) -> None:
        self.soon.append(call)

    def call_later(self, delay: float, call: Callable[[], None]) -> None:
        self.later.append((self.now + delay, call))

    def turn(self, seconds: float = 0) -> None:
        self.now += seconds
        due = self.soon + [call for at, call in self.later if at <= self.now]
        self.soon, self.later = [], [(at, call) for at, call in self.later if at > self.now]
        for call in due:
            call()


def thinned() -> tuple[Clock, Any, list[Progress]]:
    clock, sent = Clock(), list[Progress]()
    loop: Any = clock
    return clock, Thinned(loop, sent.append), sent


def test_the_first_value_goes_at_once() -> None:
    clock, report, sent = thinned()
    report(1, 10)
    clock.turn()
    assert sent == [Progress(1, 10)]


def test_a_million_calls_are_two_reports_a_second_with_the_latest_value() -> None:
    clock, report, sent = thinned()
    for turn in range(3):
        for step in range(1000):
            report(turn * 1000 + step, None)
            assert len(clock.soon) + len(clock.later) <= 1, "never more than one call on its way"
        clock.turn()
        clock.turn(0.5)
    assert [one.done for one in sent] == [999, 1999, 2999]


def test_the_last_value_follows_when_its_time_has_come() -> None:
    clock, report, sent = thinned()
    report(1, 10)
    clock.turn()
    report(2, 10)
    clock.turn(0.25)
    clock.turn()
    assert len(sent) == 1
    clock.turn(0.3)
    assert sent[-1] == Progress(2, 10)


def test_closing_sends_what_is_left_and_nothing_after() -> None:
    clock, report, sent = thinned()
    report(9, 10)
    clock.turn()
    report(10, 10)
    report.close()
    report(11, 10)
    clock.turn(5)
    assert [one.done for one in sent] == [9, 10]


@pytest.mark.parametrize(
    "clock",
    [
        pytest.param([0, 1, 2, 3], id="it goes"),
        pytest.param([0, 0, 0, 0], id="it stands"),
        pytest.param([0, -60, -59, -58], id="it is set back"),
        pytest.param([60, 61, 0, 0], id="it is set back while the job runs"),
    ],
)
def test_each_report_of_an_attempt_is_later_than_the_one_before(clock: list[int]) -> None:
    times = iter([NOON + timedelta(seconds=second) for second in clock])
    job = Envelope(UUID(int=1), "q", "t", b"1", submitted_at=NOON - timedelta(seconds=9))
    telling = Telling(job, "pod", NOON, 5, lambda: next(times))
    start, *reports = told = [telling.start(), *(telling.progress(Progress(done, 3)) for done in range(3))]
    assert start.at < reports[0].at < reports[1].at < reports[2].at
    assert start.at == NOON
    assert {(one.started_at, one.key, one.max_attempts) for one in told} == {(NOON, start.key, 5)}
    assert [one.wait_seconds for one in told] == [9, None, None, None]
