"""Names, colours and legends of a panel's lines."""

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.panels import Panel, Query, Unit
from leveret_producer.console.chart import Window
from leveret_producer.console.lines import (
    COLOURS,
    LONGEST_LABEL,
    MOST_LINES,
    Cell,
    highest,
    legend,
    looks_of,
    named_lines,
    shorten,
)
from leveret_producer.console.prometheus import Series
from leveret_producer.console.readings import Drawn, Found

WINDOW = Window(0.0, 20.0, 10.0)
TWO = (Query("ready", "…$queue…"), Query("unacked", "…$queue…"))
ONE = (Query("dead letters", "…$queue…"),)


def drawn(queries: tuple[Query, ...], *queues: str, worry: float | None = None) -> Drawn:
    """Each query with one series per queue, the later queue the higher."""
    found = tuple(
        Found(query, tuple(series(place + 1.0, queue=queue) for place, queue in enumerate(queues))) for query in queries
    )
    return Drawn(Panel("Panel", "", Unit.JOBS, queries, worry=worry), found)


def series(value: float, **labels: str) -> Series:
    return Series(labels, ((0.0, value), (10.0, value), (20.0, value)))


@pytest.mark.parametrize(
    ("queues", "labels"),
    [
        pytest.param(("leveret.a", "leveret.b"), ["a", "b"], id="one namespace goes without saying"),
        pytest.param(("one.a", "two.a"), ["one.a", "two.a"], id="two namespaces do not"),
        pytest.param(("leveret.a", "plain"), ["leveret.a", "plain"], id="a name of its own"),
    ],
)
def test_queues_are_named_as_short_as_is_clear(queues: tuple[str, ...], labels: list[str]) -> None:
    assert [look.label for look in looks_of(queues).values()] == labels


def test_one_queue_has_colours_by_what_is_said() -> None:
    lines = named_lines(drawn(TWO, "leveret.a"), None)
    assert [(each.line.label, each.line.style) for each in lines] == [("ready", "c0"), ("unacked", "c1")]


def test_several_queues_have_a_colour_each_and_a_dash_by_what_is_said() -> None:
    looks = looks_of(("leveret.a", "leveret.b"))
    lines = named_lines(drawn(TWO, "leveret.a", "leveret.b"), looks)
    a, b = (looks[queue].colour for queue in ("leveret.a", "leveret.b"))
    assert a != b
    assert [(each.line.label, each.line.style) for each in lines] == [
        ("a ready", f"{a} d0"),
        ("a unacked", f"{a} d1"),
        ("b ready", f"{b} d0"),
        ("b unacked", f"{b} d1"),
    ]


@pytest.mark.parametrize("count", range(1, COLOURS + 1))
def test_as_long_as_the_colours_suffice_no_two_queues_share_one(count: int) -> None:
    queues = tuple(f"leveret.queue-{number}" for number in range(count))
    assert len({look.colour for look in looks_of(queues).values()}) == count


@given(st.sets(st.text("abcdef-", min_size=1, max_size=9), min_size=2, max_size=40), st.data())
def test_who_goes_changes_few_colours_of_the_others(names: set[str], data: st.DataObject) -> None:
    queues = tuple(sorted(names))
    gone = data.draw(st.sampled_from(queues))
    before, after = looks_of(queues), looks_of(tuple(queue for queue in queues if queue != gone))
    changed = [queue for queue in after if after[queue].colour != before[queue].colour]
    assert len(changed) <= COLOURS
    assert {crc32(queue.encode()) > crc32(gone.encode()) for queue in changed} <= {True}


@pytest.mark.parametrize(
    ("name", "short"),
    [
        pytest.param("url-check", "url-check", id="short"),
        pytest.param("x" * LONGEST_LABEL, "x" * LONGEST_LABEL, id="just fits"),
        pytest.param(
            "leveret-orders-of-yesterday-import-eu-west-1", "leveret-o…y-import-eu-west-1", id="its middle goes"
        ),
    ],
)
def test_a_long_name_is_shortened_in_its_middle(name: str, short: str) -> None:
    assert shorten(name) == short
    assert len(short) <= LONGEST_LABEL


def test_names_that_would_be_shortened_to_the_same_stay_whole() -> None:
    queues = tuple(f"leveret.a-very-long-name-{part}-of-a-queue-at-the-end" for part in ("one", "two"))
    assert [look.label for look in looks_of(queues).values()] == [queue.partition(".")[2] for queue in queues]


def test_labels_name_lines_and_the_usual_end_comes_first() -> None:
    query = Query("{{outcome}}", "…$queue…")
    found = Found(query, tuple(series(1.0, queue="leveret.a", outcome=outcome) for outcome in ("dead", "succeeded")))
    lines = named_lines(Drawn(Panel("Outcomes", "", Unit.PER_SECOND, (query,)), (found,)), None)
    assert [(each.name, each.line.style) for each in lines] == [("succeeded", "good"), ("dead", "bad")]


def test_a_legend_of_several_queues_and_things_is_a_table() -> None:
    read = drawn(TWO, "leveret.a", "leveret.b")
    made = legend(read.panel, named_lines(read, looks_of(("leveret.a", "leveret.b"))), WINDOW)
    assert made.keys == ()
    assert made.names == (("ready", "d0"), ("unacked", "d1"))
    a, b = (look.colour for look in looks_of(("leveret.a", "leveret.b")).values())
    assert made.rows == (("a", a, (Cell("1"), Cell("1"))), ("b", b, (Cell("2"), Cell("2"))))


def test_a_worry_shows_in_the_legend() -> None:
    read = drawn(ONE, "leveret.a", "leveret.b", worry=2)
    made = legend(read.panel, named_lines(read, looks_of(("leveret.a", "leveret.b"))), WINDOW)
    assert [(key.label, key.value.worry) for key in made.keys] == [("a", False), ("b", True)]


def test_what_ended_before_the_window_is_not_known_now() -> None:
    query = Query("lag", "…")
    found = Found(query, (Series({}, ((0.0, 1.0),)),))
    read = Drawn(Panel("Lag", "", Unit.SECONDS, (query,)), (found,))
    assert [key.value for key in legend(read.panel, named_lines(read, None), WINDOW).keys] == [Cell("–")]


def test_of_too_many_lines_the_highest_queues_are_kept_whole() -> None:
    queues = tuple(f"leveret.q{number:02}" for number in range(40))
    shown = highest(named_lines(drawn(TWO, *queues), looks_of(queues)))
    assert len(shown) == MOST_LINES
    assert {each.queue for each in shown} == {f"q{number}" for number in range(34, 40)}
