"""The stage runner: what runs before what, how tests are counted, and the closing lines."""

import pytest
import stages
from containers import FIRST_PORT, PORTS_EACH, free_port
from stages import Counts, Outcome, counted, plan, table


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        pytest.param(["unit"], ["unit"], id="unit-needs-nothing"),
        pytest.param(["integration"], ["servers", "integration"], id="servers-first"),
        pytest.param(["e2e"], ["images", "cluster", "e2e"], id="cluster-first"),
        pytest.param(
            ["check", "unit", "images", "integration", "chart", "e2e", "browser"],
            ["tools", "check", "unit", "images", "servers", "integration", "chart", "cluster", "e2e", "browser"],
            id="all-each-once",
        ),
    ],
)
def test_plan(asked: list[str], runs: list[str]) -> None:
    assert [stage.name for stage in plan(asked)] == runs


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(KeyError, match="fly"):
        plan(["fly"])


@pytest.mark.parametrize(
    ("attributes", "counts"),
    [
        pytest.param('tests="5" failures="0" errors="0" skipped="0"', Counts(5, 0), id="all-passed"),
        pytest.param('tests="5" failures="1" errors="1" skipped="0"', Counts(3, 2), id="failures-and-errors"),
        pytest.param('tests="5" failures="0" errors="0" skipped="2"', Counts(3, 2), id="skipped-is-not-passed"),
    ],
)
def test_counted(attributes: str, counts: Counts) -> None:
    assert counted(f'<testsuites><testsuite name="pytest" {attributes}/></testsuites>') == counts


def test_table_ends_with_the_sum() -> None:
    outcomes = [
        Outcome("check", 12.34, True),
        Outcome("unit", 3.26, True, Counts(120, 0)),
        Outcome("e2e", 100.0, False, Counts(9, 1)),
    ]
    assert table(outcomes).splitlines() == [
        "",
        "stage           seconds  result   passed  failed",
        "check              12.3  passed",
        "unit                3.3  passed      120       0",
        "e2e               100.0  FAILED        9       1",
        "total             115.6",
        "",
        "129 passed, 1 failed",
    ]


def test_each_stage_of_pytest_leaves_a_report_and_has_a_time_limit() -> None:
    words = stages.commands(stages.STAGES["e2e"])[-1]
    assert f"--junitxml={stages.REPORTS}/e2e.xml" in words
    assert "--timeout=900" in words


def test_only_tests_of_something_real_are_run_once_more() -> None:
    assert [stage.name for stage in stages.STAGES.values() if stage.repeats] == ["integration", "e2e", "browser"]


def test_flaky_tests_are_named_before_the_sum() -> None:
    outcomes = [Outcome("e2e", 100.0, True, Counts(9, 0), flaky=("tests/e2e/test_api.py::test_it[a b]",))]
    assert table(outcomes).splitlines()[-3:] == ["flaky: tests/e2e/test_api.py::test_it[a b]", "", "9 passed, 0 failed"]


def test_each_worker_has_ports_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as share the integration tests, and one that takes a crashed one's place; below the kernel's own ports."""
    workers = stages.STAGES["integration"].workers + 1
    given: list[set[int]] = []
    for number in range(workers):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number}")
        given.append({free_port() for _ in range(200)})
    assert sum(map(len, given)) == len(set.union(*given)) == 200 * workers
    assert all(max(ports) - min(ports) < PORTS_EACH for ports in given)
    assert FIRST_PORT <= min(set.union(*given)) <= max(set.union(*given)) < 32_768
