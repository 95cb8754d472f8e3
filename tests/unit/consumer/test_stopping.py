"""The order of a graceful stop, and its signals."""

from dataclasses import dataclass, field

import pytest

from leveret_consumer.stopping import Stop, drain


@dataclass
class Noting:
    """A session that notes what it's told to do."""

    finishes: bool
    steps: list[str] = field(default_factory=list)

    async def turn_unready(self) -> None:
        self.steps.append("unready")

    def cancel_consumers(self) -> None:
        self.steps.append("cancel consumers")

    async def give_back_waiting(self) -> int:
        self.steps.append("give back waiting")
        return 2

    async def finish_running(self, within: float) -> bool:
        self.steps.append(f"finish running within {within}")
        return self.finishes

    async def give_back_running(self) -> int:
        self.steps.append("give back running")
        return 1

    async def flush_events(self) -> None:
        self.steps.append("flush")


BEFORE = ["unready", "cancel consumers", "give back waiting", "finish running within 50"]
ORDERS = [
    pytest.param(True, [*BEFORE, "flush"], id="all finish"),
    pytest.param(False, [*BEFORE, "give back running", "flush"], id="some don't"),
]


@pytest.mark.parametrize(("finishes", "steps"), ORDERS)
async def test_a_drain_keeps_its_order(finishes: bool, steps: list[str]) -> None:
    session = Noting(finishes)
    await drain(session, lambda: 50)
    assert session.steps == steps


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
async def stop(clock: list[float]) -> Stop:
    return Stop(lambda: clock[0])


async def test_the_first_signal_asks_and_the_second_ends(stop: Stop) -> None:
    stop.signalled("SIGTERM")
    assert (stop.asked.is_set(), stop.at_once.is_set(), stop.exit_code) == (True, False, 0)
    assert stop.because == "signal SIGTERM"
    stop.signalled("SIGINT")
    assert (stop.at_once.is_set(), stop.exit_code, stop.because) == (True, 1, "signal SIGTERM")


async def test_a_failure_during_a_stop_still_shows_in_the_exit_code(stop: Stop) -> None:
    stop.signalled("SIGTERM")
    stop.ask("a thread hangs", exit_code=1)
    assert (stop.exit_code, stop.at_once.is_set(), stop.because) == (1, False, "signal SIGTERM")


async def test_the_first_signal_in_a_drain_that_began_by_itself_cuts_nothing_off(stop: Stop) -> None:
    stop.ask("a thread hangs", exit_code=1)
    stop.signalled("SIGTERM")
    assert (stop.at_once.is_set(), stop.exit_code, stop.because) == (False, 1, "a thread hangs")
    stop.signalled("SIGTERM")
    assert stop.at_once.is_set()


async def test_the_grace_period_counts_from_the_first_asking(stop: Stop, clock: list[float]) -> None:
    stop.signalled("SIGTERM")
    assert stop.left(50) == 50
    clock[0] += 20
    stop.ask("a thread hangs", exit_code=1)
    assert stop.left(50) == 30
    clock[0] += 40
    assert stop.left(50) == 0
