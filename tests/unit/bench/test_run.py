"""The measures themselves, as far as they need no servers, and what is asked for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from bench.__main__ import chosen, options
from bench.comparisons import BASE, against, bare
from bench.measures import Figures, PureMeasure, Turns
from bench.measures.decide import DECIDE
from bench.ratios import Repetition, Result
from bench.references import in_lists
from bench.run import measure_all, progress
from bench.versions import TODAY


async def test_a_pure_measure_runs_without_servers() -> None:
    [result] = await measure_all([DECIDE], None, 2, 60, lambda _: None)
    assert isinstance(DECIDE, PureMeasure)
    assert result.name == "decide"
    assert len(result.ratios) == 2
    assert result.lowest > 0


async def test_what_was_measured_counts_even_if_there_is_no_time_left_for_the_end() -> None:
    async def turn() -> Figures:
        return {"quick": 2.0}

    @contextlib.asynccontextmanager
    async def endless() -> AsyncIterator[Turns]:
        yield Turns(turn, turn)
        await asyncio.Event().wait()

    both = [PureMeasure("quick", "", endless), PureMeasure("never", "", endless)]
    assert await measure_all(both, None, 2, 0.05, lambda _: None) == [Result("quick", (Repetition(2, 2),) * 2)]


@pytest.mark.parametrize(
    ("arguments", "base", "measures"),
    [
        pytest.param([], None, ["decide", "submit", "publish", "consume", "record", "rpc"], id="all"),
        pytest.param(["--only", "record", "--only", "submit"], None, ["submit", "record"], id="in-our-order"),
        pytest.param(["--base"], BASE, ["post", "record", "consume"], id="the-base-that-goals-are-told-against"),
        pytest.param(["--base", "HEAD", "--only", "consume", "post"], "HEAD", ["post", "consume"], id="another-commit"),
    ],
)
def test_options(arguments: list[str], base: str | None, measures: list[str]) -> None:
    wanted = options(arguments)
    assert wanted.base == base
    assert [one.name for one in chosen(against(TODAY) if base else bare(), wanted.only)] == measures


@pytest.mark.parametrize(
    "arguments",
    [["--repeat", "0"], ["--repeat", "21"], ["--only", "post"], ["--only", "decide", "--base"], ["--base", "--table"]],
)
def test_wrong_options_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_progress_tells_when_turns_are_missing() -> None:
    result = Result("publish", (Repetition(1, 2), Repetition(1, 4)))
    assert progress(result, 2) == "publish: 2 turns: 0.5 0.25; medians 1.000 and 3.000"
    assert progress(result, 5) == "publish: 2 turns (not 5: the machine is busy): 0.5 0.25; medians 1.000 and 3.000"


@pytest.mark.parametrize(
    ("count", "sizes"),
    [pytest.param(0, [], id="none"), pytest.param(4, [2, 2], id="even"), pytest.param(5, [2, 2, 1], id="rest")],
)
def test_in_lists(count: int, sizes: list[int]) -> None:
    assert [len(one) for one in in_lists(range(count), 2)] == sizes
