"""Curves and bars made of characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.curves import Point, shares, sparkline


@pytest.mark.parametrize(
    ("points", "until", "top", "drawn"),
    [
        ([], 10.0, None, "     "),
        ([(0.0, 0.0)], 0.0, None, "    ▁"),
        ([(0.0, 0.0), (2.0, 1.0), (4.0, 2.0), (6.0, 4.0), (8.0, 8.0)], 10.0, None, "▁▂▃▅█"),
        ([(0.0, 0.0), (2.0, 1.0), (4.0, 2.0), (6.0, 4.0), (8.0, 8.0)], 10.0, 16.0, "▁▂▂▃▅"),
        ([(0.0, 5.0), (8.0, 5.0)], 10.0, None, "█████"),
        ([(0.0, 5.0), (4.0, None), (8.0, 5.0)], 10.0, None, "██  █"),
        ([(8.0, 1.0), (8.5, 8.0), (9.0, 2.0)], 10.0, 8.0, "    █"),
        ([(0.0, 0.0), (8.0, 0.0)], 10.0, None, "▁▁▁▁▁"),
    ],
    ids=[
        "nothing",
        "no time",
        "rising",
        "below its top",
        "held between samples",
        "a gap where unknown",
        "the most of a column",
        "zeros",
    ],
)
def test_a_sparkline_has_a_column_for_each_span(
    points: list[Point], until: float, top: float | None, drawn: str
) -> None:
    assert sparkline(points, width=5, until=until, top=top) == drawn


@given(
    st.lists(st.tuples(st.floats(0, 100), st.none() | st.floats(0, 1e9))),
    st.integers(1, 120),
    st.floats(0, 100),
)
def test_a_sparkline_is_as_wide_as_asked(points: list[Point], width: int, until: float) -> None:
    assert len(sparkline(points, width=width, until=until)) == width


@pytest.mark.parametrize(
    ("parts", "width", "columns"),
    [
        ([0, 0], 10, [0, 0]),
        ([1, 1], 10, [5, 5]),
        ([2, 1], 10, [7, 3]),
        ([9999, 1], 10, [9, 1]),
        ([1, 0, 9999, 1], 10, [1, 0, 8, 1]),
    ],
    ids=["nothing", "even", "rounded", "a little is seen", "two a little"],
)
def test_shares_fill_the_width(parts: list[int], width: int, columns: list[int]) -> None:
    assert shares(parts, width) == columns


@given(st.lists(st.integers(0, 100_000), min_size=5, max_size=5), st.integers(5, 200))
def test_all_columns_are_used_and_none_that_is_above_zero_is_lost(parts: list[int], width: int) -> None:
    columns = shares(parts, width)
    assert sum(columns) == (width if any(parts) else 0)
    assert [part > 0 for part in parts] == [column > 0 for column in columns]
