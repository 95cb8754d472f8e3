"""How long a graceful stop takes, and its signals; when a consumer is ready. The order is in test_session."""

from datetime import timedelta

import pytest

from leveret_consumer import __main__, consumer, session
from leveret_consumer.settings import KEPT_FOR_THE_END
from leveret_consumer.status import Status, Stop


def test_what_follows_the_grace_period_is_over_before_sigkill_comes() -> None:
    """The waits added up to 18 s, and the pod has 10 left."""
    assert session.CONFIRMS_WITHIN + session.TOLD_WITHIN < consumer.DRAINS_WITHIN
    ends = consumer.DRAINS_WITHIN + consumer.CLOSES_WITHIN + consumer.CLEANS_UP_WITHIN + __main__.LAST_WORDS_WITHIN
    assert timedelta(seconds=ends) < KEPT_FOR_THE_END


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


def test_who_does_not_know_what_is_cancelled_is_not_ready_whatever_else_comes() -> None:
    status = Status("q")
    status.is_behind("it is read")
    status.connected()
    assert status.readiness().says == "connected to the broker, not consuming q yet"
    status.consumes(2)
    assert (status.readiness().ready, status.readiness().says) == (
        False,
        "consuming q with 2 slots, but starting nothing: it is read",
    )
    status.is_behind("")
    assert (status.readiness().ready, status.readiness().says) == (True, "consuming q with 2 slots")
    status.is_behind("lost")
    assert not status.readiness().ready
    status.drains("signal")
    status.is_behind("")
    assert status.readiness().says == "draining: signal"


def test_what_the_broker_can_not_make_is_said_and_keeps_nobody_from_being_ready() -> None:
    status = Status("q")
    status.connected()
    status.lacks("jobs", {"leveret.delay.0": "no level 0"})
    status.lacks("control", {"leveret.delay.0": "no level 0", "leveret.control": "no cancels"})
    status.consumes(2)
    assert (status.readiness().ready, status.readiness().says) == (
        True,
        "consuming q with 2 slots; no level 0; no cancels",
    )
    status.lacks("jobs", {})
    status.lacks("control", {})
    assert (status.readiness().ready, status.readiness().says) == (True, "consuming q with 2 slots")
