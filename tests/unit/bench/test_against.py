"""Today beside an older commit: the figures of a turn, and what is measured of what."""

import re

import pytest
import yaml

from bench.__main__ import LIMITS, limits_of
from bench.against import Done, figures
from bench.against.post import BODY, REQUEST
from bench.comparisons import BASE, against, bare, on_a_large_table
from bench.measures import results_of
from bench.processes import running
from bench.ratios import Repetition
from bench.run import paired
from bench.versions import TODAY


@pytest.mark.parametrize(
    ("done", "found"),
    [
        pytest.param(Done(100, 2.0, 0.5), {"a.rate": 50, "a.cpu": 5_000}, id="rate-and-microseconds-of-each"),
        pytest.param(
            Done(4, 2.0, 0.5, each=(0.001, 0.002, 0.004, 9.0)),
            {"a.rate": 2, "a.cpu": 125_000, "a.p50": 3},
            id="median-in-milliseconds",
        ),
    ],
)
def test_figures(done: Done, found: dict[str, float]) -> None:
    assert figures("a", done) == pytest.approx(found)


def test_each_figure_is_compared_within_its_repetition() -> None:
    turns = [
        ({"rate": 10.0, "cpu": 3.0}, {"rate": 20.0, "cpu": 4.0}),
        ({"rate": 1.0, "cpu": 9.0}, {"rate": 4.0, "cpu": 3.0}),
    ]
    rate, cpu = paired(turns)
    assert (rate.name, rate.repetitions) == ("rate", (Repetition(10, 20), Repetition(1, 4)))
    assert (cpu.name, cpu.ratios) == ("cpu", (0.75, 3))


def test_there_is_a_limit_of_the_right_kind_for_each_result() -> None:
    """A rate must not fall, a time must not rise."""
    assert list(yaml.safe_load(LIMITS.read_text())) == ["bare", "base", "table"]
    for comparison in (bare(), against(TODAY), on_a_large_table()):
        limits = limits_of(comparison)
        assert list(limits) == [name for one in comparison.measures for name in results_of(one)]
        assert {name for name, limit in limits.items() if limit.highest} == {
            name for name in limits if name.endswith((".cpu", ".p50")) or name.startswith("table.")
        }


def test_the_measures_fit_in_five_minutes_with_the_servers_start() -> None:
    assert against(TODAY).longest <= 270
    assert re.fullmatch("[0-9a-f]{7}", BASE)


def test_the_request_is_one_whole_post() -> None:
    head, _, body = REQUEST.decode().partition("\r\n\r\n")
    assert body == BODY
    assert f"Content-Length: {len(body)}" in head.split("\r\n")


async def test_processor_time_grows_while_a_process_works_and_stands_still_while_it_is_frozen() -> None:
    async with running("timeit", {}) as process:  # of nothing, over and over
        seen = -1.0

        async def stands_still() -> bool:
            nonlocal seen
            before, seen = seen, process.cpu_seconds()
            return before == seen

        async def grows() -> bool:
            return process.cpu_seconds() > seen

        with process.frozen():
            await process.until("it is frozen", stands_still)
        await process.until("it works on", grows)
