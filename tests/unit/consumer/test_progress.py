"""Progress on a moving clock: about one report a second, and never without its last value."""

from collections.abc import Callable
from typing import Any

from leveret.events import Progress
from leveret_consumer.progress import Thinned


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


def test_a_million_calls_are_one_report_a_second_with_the_latest_value() -> None:
    clock, report, sent = thinned()
    for second in range(3):
        for step in range(1000):
            report(second * 1000 + step, None)
            assert len(clock.soon) + len(clock.later) <= 1, "never more than one call on its way"
        clock.turn()
        clock.turn(1)
    assert [one.done for one in sent] == [999, 1999, 2999]


def test_the_last_value_follows_when_its_time_has_come() -> None:
    clock, report, sent = thinned()
    report(1, 10)
    clock.turn()
    report(2, 10)
    clock.turn(0.5)
    clock.turn()
    assert len(sent) == 1
    clock.turn(0.6)
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
