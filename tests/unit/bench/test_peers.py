"""Beside its peers: what the figures of turns come to, and how a worker's runs and its processor time are read."""

import io
import os
import re
from pathlib import Path

import pytest
from rich.console import Console

from bench.peers.figures import Figures, figures, goals, table, ticks, wrong
from bench.peers.ledger import Ledger
from bench.peers.libraries import LIBRARIES, LOADS

STAT = "{} ({}) S 1 {} 7 0 -1 4194304 100 0 0 0 {} {} 50 60 20 0 1 0 12345 1000 100"
EVERY_MS = [at / 1000 for at in range(2_001)]


@pytest.mark.parametrize(
    ("cold", "rate"),
    [
        pytest.param(EVERY_MS, 1_000, id="the-half-second-before-the-first-is-over"),
        pytest.param(EVERY_MS[:750], 1_000, id="what-there-is-of-it"),
        pytest.param(EVERY_MS[:550], None, id="too-few-jobs"),
        pytest.param([*EVERY_MS[:400], 5.0], 0, id="a-standstill"),
    ],
)
def test_figures(cold: list[float], rate: float | None) -> None:
    found = figures(cold, [at / 4 for at in EVERY_MS], cpu_seconds=0.2001)
    assert found.rate == pytest.approx(4_000)
    assert found.cpu == pytest.approx(100)
    assert found.cold == (None if rate is None else pytest.approx(rate, rel=0.01))


@pytest.mark.parametrize(
    ("counts", "unacknowledged", "said"),
    [
        pytest.param([1, 1], 0, "", id="each-once"),
        pytest.param([0, 1], 0, "of 2 jobs 1 lost, 0 run more than once, 0 not acknowledged", id="lost"),
        pytest.param([2, 1], 0, "of 2 jobs 0 lost, 1 run more than once, 0 not acknowledged", id="twice"),
        pytest.param([1, 1], 2, "of 2 jobs 0 lost, 0 run more than once, 2 not acknowledged", id="would-run-again"),
    ],
)
def test_each_job_runs_once_and_for_all(counts: list[int], unacknowledged: int, said: str) -> None:
    assert wrong(bytes(counts), unacknowledged) == said


def test_processor_time_is_that_of_a_process_group() -> None:
    stats = [
        STAT.format(10, "celery", 10, 7, 3),
        STAT.format(11, "a) R 1 (b", 10, 20, 1),
        STAT.format(12, "c", 12, 9, 9),
    ]
    assert ticks(stats, 10) == 31
    assert ticks([Path("/proc/self/stat").read_text()], os.getpgid(0)) > 0


def test_goals_and_table_are_of_medians() -> None:
    ours = [Figures(rate, 80, 0.9 * rate) for rate in (9_000, 7_000, 8_000)]
    found = {
        ("no-op", "Leveret"): ours,
        ("no-op", "Celery"): [Figures(3_000, 300, None)],
        ("no-op", "Dramatiq"): [Figures(4_100, 250, 3_000), Figures(3_900, 250, 3_000)],
        ("no-op", "Leveret, 10 slots"): [Figures(4_000, 90, None)],
        ("10 ms sleep", "Celery"): [Figures(50_000, 20, None)],
    }
    said = goals(found)
    assert [(goal.found, goal.reached) for goal in said] == [(2.0, True), (80, True), (0.9, True), (0.5, False)]
    assert str(said[0]) == "warm rate ÷ the best peer's, Dramatiq: 2.000 (reached); goal ≥ 2"
    assert [(goal.found, goal.reached) for goal in goals({})] == [(None, False)] * 4
    drawn = io.StringIO()
    Console(width=160, file=drawn).print(table(found, "title"))
    row = next(line for line in drawn.getvalue().splitlines() if "Dramatiq" in line)
    assert re.split("  +", row.strip()) == ["no-op", "Dramatiq", "2", "4,000", "3,900 – 4,100", "250", "100%", "3,000"]


def test_a_ledger_counts_each_job(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "ledger", 3)
    worker = Ledger(tmp_path / "ledger")
    for number in (2, 0, 2):
        worker.ran(number)
    assert ledger.counts() == bytes([1, 0, 2])
    assert ledger.counts(slice(1)) == bytes([1])
    times = ledger.times(slice(3))
    assert times[0] == 0 < times[1] < times[2]


def test_each_library_has_its_adapter_and_takes_a_turn_with_each_load() -> None:
    folder = Path(__file__).parents[3] / "bench" / "peers" / "adapters"
    assert {one.adapter for one in LIBRARIES} == {path.stem for path in folder.glob("with_*.py")}
    assert all(one.loads == LOADS for one in LIBRARIES[:-1])
