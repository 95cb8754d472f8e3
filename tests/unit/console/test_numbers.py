"""Numbers and ticks as a person reads them."""

import pytest

from leveret.panels import Unit
from leveret_producer.console.numbers import clock, say, time_ticks, y_ticks


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        pytest.param(None, Unit.JOBS, "–", id="unknown is a dash"),
        pytest.param(0.0, Unit.JOBS, "0", id="nought is nought"),
        pytest.param(7.0, Unit.PODS, "7", id="pods"),
        pytest.param(1590.0, Unit.JOBS, "1,590", id="thousands"),
        pytest.param(12_300.0, Unit.JOBS, "12.3k", id="many thousands"),
        pytest.param(5_000_000.0, Unit.JOBS, "5M", id="millions"),
        pytest.param(3e15, Unit.JOBS, "3000T", id="huge"),
        pytest.param(12.345, Unit.PER_SECOND, "12.3 /s", id="a rate"),
        pytest.param(0.0042, Unit.PER_SECOND, "0.004 /s", id="a small rate"),
        pytest.param(1e-9, Unit.PER_SECOND, "≈0 /s", id="next to nothing"),
        pytest.param(1.0, Unit.PER_MINUTE, "1 /min", id="per minute"),
        pytest.param(0.0, Unit.SECONDS, "0 s", id="no time"),
        pytest.param(0.0001, Unit.SECONDS, "< 1 ms", id="hardly any time"),
        pytest.param(0.25, Unit.SECONDS, "250 ms", id="milliseconds"),
        pytest.param(1.2, Unit.SECONDS, "1.2 s", id="seconds"),
        pytest.param(90.0, Unit.SECONDS, "90 s", id="below two minutes seconds say more"),
        pytest.param(150.0, Unit.SECONDS, "2.5 min", id="minutes"),
        pytest.param(9000.0, Unit.SECONDS, "2.5 h", id="hours"),
        pytest.param(400_000.0, Unit.SECONDS, "4.63 d", id="days"),
    ],
)
def test_say(value: float | None, unit: Unit, said: str) -> None:
    assert say(value, unit) == said


@pytest.mark.parametrize(
    ("most", "unit", "ticks"),
    [
        pytest.param(0, Unit.JOBS, (0, 1), id="nothing there"),
        pytest.param(float("nan"), Unit.JOBS, (0, 1), id="not a number"),
        pytest.param(float("inf"), Unit.JOBS, (0, 1), id="no end"),
        pytest.param(1, Unit.PODS, (0, 1), id="no half pod"),
        pytest.param(3, Unit.PODS, (0, 1, 2, 3), id="few pods"),
        pytest.param(10, Unit.PODS, (0, 5, 10), id="no quarter of ten pods"),
        pytest.param(100, Unit.JOBS, (0, 25, 50, 75, 100), id="quarters where they are whole"),
        pytest.param(1590, Unit.JOBS, (0, 500, 1000, 1500, 2000), id="above the highest"),
        pytest.param(1, Unit.PER_SECOND, (0, 0.25, 0.5, 0.75, 1.0), id="rates have fractions"),
        pytest.param(8e12, Unit.JOBS, (0, 2e12, 4e12, 6e12, 8e12), id="huge"),
        pytest.param(0.3, Unit.SECONDS, pytest.approx((0, 0.1, 0.2, 0.3)), id="below a second by tens"),
        pytest.param(100, Unit.SECONDS, (0, 30, 60, 90, 120), id="above it by the clock"),
        pytest.param(7000, Unit.SECONDS, (0, 1800, 3600, 5400, 7200), id="half hours"),
    ],
)
def test_y_ticks(most: float, unit: Unit, ticks: tuple[float, ...]) -> None:
    assert y_ticks(most, unit) == ticks


@pytest.mark.parametrize("length", [900, 3600, 6 * 3600, 24 * 3600])
def test_time_ticks_are_few_and_round_and_within(length: int) -> None:
    start = 1_795_331_111.0
    ticks = time_ticks(start, start + length)
    assert 5 <= len(ticks) <= 8
    assert all(start <= tick <= start + length and tick % 60 == 0 for tick in ticks)


def test_the_clock_is_in_utc() -> None:
    assert clock(1_795_331_111.0) == "07:05"
    assert clock(1_795_331_111.0, seconds=True) == "07:05:11"
