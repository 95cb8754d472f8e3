"""What fails among real servers is run once more, alone: a few tests that ran, nothing else, and never in silence."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from reports import ends_early, passed_again, to_repeat

ROOT = Path(__file__).resolve().parents[2]
# The fixture and each test fail until they have been run once, or twice, or for ever.
TESTS = """
import pathlib, pytest

def fails(name, times):
    runs = pathlib.Path(__file__).with_name(str(name.encode().hex()))
    before = len(runs.read_text()) if runs.exists() else 0
    runs.write_text("." * (before + 1))
    assert before >= times

@pytest.fixture
def server():
    fails("server", 1)

class TestServer:
    def test_flaky(self, server):
        pass

@pytest.mark.parametrize("name", ["a", "b [c]::d/e.f", "é\\n"])
def test_flaky(name):
    fails(name, 1)

def test_steady():
    pass
"""
FOR_EVER = """
def test_wrong():
    fails("wrong", 1_000)
"""
CRASH = """
def test_that_ends_the_run():
    import os
    os._exit(0)
"""


def run_stage(root: Path, stage: str, tests: str) -> list[str]:
    """Run one stage by the real runner, in a repository whose cluster kit does nothing; return what is said."""
    for folder in ("cluster", "tests/support", f"tests/{stage}"):
        (root / folder).mkdir(parents=True)
    (root / "cluster" / "kit.py").touch()
    for name in ("stages.py", "reports.py"):
        shutil.copy(ROOT / "tests" / "support" / name, root / "tests" / "support")
    (root / "tests" / stage / "test_it.py").write_text(tests)
    fast = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-p pytest_timeout -p xdist.plugin"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.stages", stage],
        cwd=root,
        env=environment | fast | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout.splitlines()
    assert done.returncode == (0 if said[-1].endswith(" 0 failed") else 1), done.stdout + done.stderr
    return [line for line in said if line.startswith(("flaky: ", "=== ")) or line == said[-1]]


FLAKY = [
    "flaky: tests/e2e/test_it.py::TestServer::test_flaky",
    "flaky: tests/e2e/test_it.py::test_flaky[a]",
    "flaky: tests/e2e/test_it.py::test_flaky[b [c]::d/e.f]",
    r"flaky: tests/e2e/test_it.py::test_flaky[\xe9\n]",
]


def test_what_passes_when_it_is_run_alone_is_green_and_named(tmp_path: Path) -> None:
    said = run_stage(tmp_path, "e2e", TESTS)
    assert "=== e2e: 4 failed, and run once more, alone" in said
    assert sorted(said[-5:-1]) == sorted(FLAKY)
    assert said[-1] == "5 passed, 0 failed"
    assert sorted(path.name for path in (tmp_path / "build" / "reports").iterdir()) == ["e2e-again.xml", "e2e.xml"]


def test_what_fails_twice_has_failed(tmp_path: Path) -> None:
    said = run_stage(tmp_path, "e2e", TESTS + FOR_EVER)
    assert "=== e2e: 5 failed, and run once more, alone" in said
    assert sorted(said[-5:-1]) == sorted(FLAKY)
    assert said[-1] == "5 passed, 1 failed"


@pytest.mark.parametrize(
    ("stage", "tests", "ends"),
    [
        pytest.param("unit", TESTS, "1 passed, 4 failed", id="unit-tests-get-no-second-run"),
        pytest.param("e2e", TESTS + CRASH, "0 passed, 1 failed", id="a-run-without-a-report-is-none"),
    ],
)
def test_the_first_run_stands(tmp_path: Path, stage: str, tests: str, ends: str) -> None:
    said = run_stage(tmp_path, stage, tests)
    assert said[-1] == ends
    assert not any("once more" in line or "flaky" in line for line in said)


BAD = '<testcase classname="tests.e2e.test_it" name="test_{}"><{}/></testcase>'


@pytest.mark.parametrize(
    ("cases", "repeated"),
    [
        pytest.param([BAD.format(1, "failure"), BAD.format(2, "error")], ["test_1", "test_2"], id="failure-and-error"),
        pytest.param([BAD.format(1, "failure"), BAD.format(1, "error")], ["test_1"], id="one-that-fails-and-can't-end"),
        pytest.param([BAD.format(n, "failure") for n in range(5)], [f"test_{n}" for n in range(5)], id="five"),
        pytest.param([BAD.format(n, "failure") for n in range(6)], [], id="six-have-a-cause"),
        pytest.param([BAD.format(1, "failure"), BAD.format(2, "skipped")], [], id="skipped"),
        pytest.param(
            [BAD.format(1, "failure"), '<testcase classname="" name="tests.e2e.test_it"><error/></testcase>'],
            [],
            id="not-collected",
        ),
        pytest.param(
            [BAD.format(1, "failure"), '<testcase classname="pytest" name="internal"><error/></testcase>'],
            [],
            id="pytest-itself",
        ),
    ],
)
def test_what_is_repeated(tmp_path: Path, cases: list[str], repeated: list[str]) -> None:
    file = tmp_path / "tests" / "e2e" / "test_it.py"
    file.parent.mkdir(parents=True)
    file.touch()
    steady = '<testcase classname="tests.e2e.test_it" name="test_steady"/>'
    report = f"<testsuites><testsuite>{steady}{''.join(cases)}</testsuite></testsuites>"
    assert to_repeat(report, tmp_path) == tuple(f"tests/e2e/test_it.py::{name}" for name in repeated)


@pytest.mark.parametrize(
    ("options", "early"),
    [
        ("", False),
        ("-k 'exit or max' -v --durations=5 -p xdist", False),
        ("-x", True),
        ("-vx", True),
        ("--maxfail=3", True),
        ("--exitfirst", True),
        ("--sw", True),
    ],
)
def test_options_that_end_a_run_early(options: str, early: bool) -> None:
    assert ends_early(options) == early


def test_a_test_that_a_second_report_lacks_has_not_passed(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").touch()
    one = '<testsuites><testsuite><testcase classname="test_a" name="test_it"/></testsuite></testsuites>'
    assert passed_again(("test_a.py::test_it", "test_a.py::test_other"), one, tmp_path) == ("test_a.py::test_it",)
