"""Ratios of a run, and how they are held against limits."""

import pytest

from bench.ratios import Limit, Repetition, Result, WrongLimits, checked_limits, judge, part_of

GOOD = "at least 1"


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
    [
        pytest.param(Limit(0.19), True, id="above"),
        pytest.param(Limit(0.2), True, id="equal"),
        pytest.param(Limit(0.21), False, id="below"),
        pytest.param(Limit(0.19, highest=True), False, id="above-the-most"),
        pytest.param(Limit(0.2, highest=True), True, id="equal-to-the-most"),
        pytest.param(Limit(0.21, highest=True), True, id="below-the-most"),
    ],
)
def test_the_median_is_held_against_the_limit(limit: Limit, reached: bool) -> None:
    [verdict] = judge([result((1, 10), (2, 10), (9, 10))], {"submit": limit, "decide": Limit(5)})
    assert (verdict.limit, verdict.reached) == (limit, reached)


def test_limits() -> None:
    read = {"bare": {"a": "at least 1", "b": "at most 0.25"}}
    assert checked_limits(part_of(read, "bare"), ["a", "b"]) == {"a": Limit(1), "b": Limit(0.25, highest=True)}


@pytest.mark.parametrize("read", [None, ["base"], {"bare": {}}])
def test_a_part_that_is_not_there_is_told_in_a_sentence(read: object) -> None:
    with pytest.raises(WrongLimits, match="has no part `base`"):
        part_of(read, "base")


@pytest.mark.parametrize(
    ("read", "says"),
    [
        pytest.param(None, "must map", id="an-empty-file"),
        pytest.param([1, 2], "must map", id="a-list"),
        pytest.param({"a": GOOD}, "lacks a limit for b", id="missing"),
        pytest.param({"a": GOOD, "b": GOOD, "c": GOOD}, "what is not measured: c", id="unknown"),
        pytest.param({"a": GOOD, "b": 2}, "limit of b is 2, and must be", id="of-no-kind"),
        pytest.param({"a": GOOD, "b": "about 2"}, "limit of b is 'about 2'", id="of-another-kind"),
        pytest.param({"a": GOOD, "b": "at least 0.0"}, "limit of b is 'at least 0.0'", id="always-reached"),
        pytest.param({"a": GOOD, "b": "at least nan"}, "limit of b is 'at least nan'", id="never-reached"),
        pytest.param({"a": GOOD, "b": "at most 1.3 or so"}, "limit of b is 'at most 1.3 or so'", id="more-after-it"),
    ],
)
def test_wrong_limits_are_told_in_a_sentence(read: object, says: str) -> None:
    with pytest.raises(WrongLimits, match=says):
        checked_limits(read, ["a", "b"])
