"""Which of the signals that disagree is believed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from leveret.scaling.backlog import Depth, Reading, combine, together

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ago(seconds: float, ready: int | None, unacked: int | None = None) -> Depth:
    return Depth(NOW - timedelta(seconds=seconds), ready, unacked)


@pytest.mark.parametrize(
    ("live", "bulk", "in_flight", "ready", "unacked"),
    [
        pytest.param(ago(1, 7), ago(4, 3, 2), 0, 7, 2, id="live-is-fresher"),
        pytest.param(ago(1, 0), ago(4, 3, 2), 0, 3, 2, id="a-live-zero-is-no-knowledge"),
        pytest.param(ago(2.1, 7), ago(4, 3, 2), 0, 3, 2, id="live-is-too-old"),
        pytest.param(None, ago(10, 3, 2), 0, 3, 2, id="bulk-just-good"),
        pytest.param(None, ago(10.1, 3, 2), 0, None, None, id="bulk-too-old"),
        pytest.param(None, None, 0, None, None, id="nothing"),
        pytest.param(ago(1, 7), None, 5, 7, None, id="some-consumers-may-be-silent"),
        pytest.param(None, ago(4, 0, 2), 5, 0, 5, id="consumers-hold-more-than-bulk-saw"),
        pytest.param(None, ago(4, 3, 0), 2, 1, 2, id="consumers-hold-what-bulk-saw-ready"),
        pytest.param(None, ago(4, None, None), 0, None, None, id="bulk-without-numbers"),
    ],
)
def test_the_freshest_that_can_be_believed(
    live: Depth | None, bulk: Depth | None, in_flight: int, ready: int | None, unacked: int | None
) -> None:
    backlog = combine(live, bulk, in_flight=in_flight, now=NOW)
    assert (backlog.ready, backlog.unacked) == (ready, unacked)
    assert backlog.total == (None if ready is None or unacked is None else ready + unacked)


@pytest.mark.parametrize(
    ("live", "bulk", "in_flight", "total"),
    [
        pytest.param(ago(0, 20), ago(5, 1_010, 0), 10, 1_010, id="taken-since"),
        pytest.param(ago(0, 20), ago(5, 10, 0), 30, 50, id="arrived-and-taken-since"),
        pytest.param(ago(0, 700), ago(5, 1_000, 500), 900, 1_600, id="consumers-tell-of-more"),
        pytest.param(ago(0, 0), ago(5, 1_000, 0), 600, 1_000, id="of-what-bulk-saw"),
        pytest.param(ago(0, 2_000), ago(5, 1_000, 500), 0, 2_500, id="risen-since"),
    ],
)
def test_readings_of_different_moments_only_raise_it(live: Depth, bulk: Depth, in_flight: int, total: int) -> None:
    assert combine(live, bulk, in_flight=in_flight, now=NOW).total == total


def test_what_is_known_is_the_least_of_an_unknown_total() -> None:
    backlog = replace(combine(ago(1, 7), None, in_flight=5, now=NOW), unconfirmed=3)
    assert backlog.total is None
    assert backlog.at_least == 15


@pytest.mark.parametrize(
    ("own", "source", "ready", "unacked", "at_least"),
    [
        pytest.param((None, ago(4, 3, 2)), (None, ago(4, 5, 1)), 8, 3, 11, id="both-are-added"),
        pytest.param((ago(1, 7), ago(4, 3, 2)), (None, ago(4, 5, 1)), 12, 3, 15, id="live-is-fresher-for-one"),
        pytest.param((ago(1, 0), ago(4, 3, 2)), (ago(1, 9), ago(4, 0, 0)), 12, 2, 14, id="a-live-zero-is-no-knowledge"),
        pytest.param((ago(1, 7), ago(4, 3, 2)), (None, None), None, None, 7, id="one-that-is-not-known"),
        pytest.param((None, None), (ago(1, 5), ago(4, 5, 1)), None, None, 5, id="the-other-that-is-not-known"),
        pytest.param((None, ago(4, 0, 0)), (None, ago(11, 5, 0)), None, None, 0, id="one-that-is-too-old"),
    ],
)
def test_dead_letters_of_a_source_are_added(
    own: Reading, source: Reading, ready: int | None, unacked: int | None, at_least: int
) -> None:
    backlog = combine(*own, in_flight=0, now=NOW, source=source)
    assert (backlog.ready, backlog.unacked, backlog.at_least) == (ready, unacked, at_least)


def test_two_readings_are_as_old_as_the_older_and_unknown_where_one_is() -> None:
    assert together(ago(1, 3, 2), ago(4, 0, None)) == ago(4, 3, None)
    assert together(ago(1, 3, 2), None) is None
    assert together(None, ago(1, 3, 2)) is None


@pytest.mark.parametrize(
    ("own", "source", "in_flight", "one_holds", "total", "its"),
    [
        pytest.param((None, ago(4, 3, 2)), (None, ago(4, 5, 1)), 0, 0, 11, 6, id="as-bulk-says"),
        pytest.param((None, ago(4, 3, 2)), (ago(1, 9), ago(4, 5, 1)), 0, 0, 15, 10, id="live-is-fresher"),
        pytest.param((None, ago(4, 0, 0)), (None, ago(4, 5, 0)), 50, 50, 50, 50, id="one-pod-may-hold-them"),
        pytest.param((None, ago(4, 0, 0)), (None, ago(4, 5, 0)), 90, 50, 90, 50, id="no-other-pod-can"),
        pytest.param((None, ago(4, 9, 60)), (None, ago(4, 5, 0)), 50, 50, 74, 5, id="bulk-has-counted-them"),
        pytest.param((ago(1, 9), None), (None, ago(4, 5, 3)), 50, 50, None, 55, id="unknown-but-for-heartbeats"),
        pytest.param((ago(1, 9), ago(4, 9, 0)), (None, None), 50, 40, None, 40, id="the-source-unknown"),
    ],
)
def test_what_may_be_the_sources(
    own: Reading, source: Reading, in_flight: int, one_holds: int, total: int | None, its: int
) -> None:
    backlog = combine(*own, in_flight=in_flight, now=NOW, one_holds=one_holds, source=source)
    assert (backlog.total, backlog.source) == (total, its)
    assert backlog.source <= backlog.at_least


def test_without_a_source_nothing_is_its() -> None:
    assert combine(None, ago(4, 3, 2), in_flight=9, now=NOW, one_holds=9).source == 0
