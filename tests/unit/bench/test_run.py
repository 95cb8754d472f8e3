"""The measures themselves, as far as they need no servers; and the limits as they stand in the file."""

import pytest
import yaml

from bench.__main__ import LIMITS, options
from bench.measures import PureMeasure
from bench.measures.decide import DECIDE
from bench.ratios import Repetition, Result, checked_limits
from bench.references import in_lists
from bench.run import ALL, measure_all, progress


def test_there_is_a_limit_for_each_measure() -> None:
    names = [one.name for one in ALL]
    assert list(checked_limits(yaml.safe_load(LIMITS.read_text()), names)) == names


async def test_a_pure_measure_runs_without_servers() -> None:
    [result] = await measure_all([DECIDE], None, 2, lambda _: None)
    assert isinstance(DECIDE, PureMeasure)
    assert result.name == "decide"
    assert len(result.ratios) == 2
    assert result.lowest > 0


@pytest.mark.parametrize(
    ("arguments", "only"),
    [
        pytest.param([], tuple(one.name for one in ALL), id="all"),
        pytest.param(["--only", "record", "--only", "submit"], ("submit", "record"), id="in-our-order"),
    ],
)
def test_options(arguments: list[str], only: tuple[str, ...]) -> None:
    assert options(arguments).only == only


@pytest.mark.parametrize("arguments", [["--repeat", "0"], ["--repeat", "21"], ["--only", "all"]])
def test_wrong_options_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_progress_tells_when_turns_are_missing() -> None:
    result = Result("publish", (Repetition(1, 2), Repetition(1, 4)))
    assert progress(result, 2) == "publish: 2 turns: 0.5 0.25"
    assert progress(result, 5) == "publish: 2 turns (not 5: the machine is busy): 0.5 0.25"


@pytest.mark.parametrize(
    ("count", "sizes"),
    [pytest.param(0, [], id="none"), pytest.param(4, [2, 2], id="even"), pytest.param(5, [2, 2, 1], id="rest")],
)
def test_in_lists(count: int, sizes: list[int]) -> None:
    assert [len(one) for one in in_lists(range(count), 2)] == sizes
