"""Ratios of a run, and how they are held against limits."""

import pytest

from bench.ratios import Repetition, Result, WrongLimits, checked_limits, judge


def result(*pairs: tuple[float, float], name: str = "submit") -> Result:
    return Result(name, tuple(Repetition(*pair) for pair in pairs))


@pytest.mark.parametrize(
    ("pairs", "lowest", "median", "highest"),
    [
        pytest.param([(50, 100)], 0.5, 0.5, 0.5, id="one"),
        pytest.param([(10, 100), (90, 100), (20, 100)], 0.1, 0.2, 0.9, id="one-of-three-disturbed"),
        pytest.param([(10, 100), (20, 100), (40, 100), (30, 100)], 0.1, 0.25, 0.4, id="even-number"),
        pytest.param([(100, 1_000), (10, 100), (1, 10)], 0.1, 0.1, 0.1, id="a-machine-that-slows-down"),
        pytest.param([(300, 100)], 3, 3, 3, id="faster-than-the-reference"),
    ],
)
def test_ratios(pairs: list[tuple[float, float]], lowest: float, median: float, highest: float) -> None:
    found = result(*pairs)
    assert (found.lowest, found.median, found.highest) == pytest.approx((lowest, median, highest))


@pytest.mark.parametrize(
    ("limit", "reached"),
    [pytest.param(0.19, True, id="above"), pytest.param(0.2, True, id="equal"), pytest.param(0.21, False, id="below")],
)
def test_the_median_is_held_against_the_limit(limit: float, reached: bool) -> None:
    [verdict] = judge([result((1, 10), (2, 10), (9, 10))], {"submit": limit, "decide": 5})
    assert (verdict.limit, verdict.reached) == (limit, reached)


def test_limits() -> None:
    assert checked_limits({"a": 1, "b": 0.25}, ["a", "b"]) == {"a": 1.0, "b": 0.25}


@pytest.mark.parametrize(
    ("read", "says"),
    [
        pytest.param(None, "must map", id="an-empty-file"),
        pytest.param([1, 2], "must map", id="a-list"),
        pytest.param({"a": 1}, "lacks a limit for b", id="missing"),
        pytest.param({"a": 1, "b": 1, "c": 1}, "what is not measured: c", id="unknown"),
        pytest.param({"a": 1, "b": "2"}, "limit of b is '2'", id="text"),
        pytest.param({"a": 1, "b": 0}, "limit of b is 0", id="always-reached"),
        pytest.param({"a": 1, "b": True}, "limit of b is True", id="boolean"),
        pytest.param({"a": 1, "b": float("nan")}, "limit of b is nan", id="never-reached"),
    ],
)
def test_wrong_limits_are_told_in_a_sentence(read: object, says: str) -> None:
    with pytest.raises(WrongLimits, match=says):
        checked_limits(read, ["a", "b"])
