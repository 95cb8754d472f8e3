"""Run the stages of `make test`: one after the other, each with its time, the first failing one ends the run.

    python -m tests.support.stages check unit integration chart e2e browser

What a stage needs is put before it (Docker and images before the integration tests, a cluster before the end-to-end
tests) as a stage of its own, so that its time is seen, too. The test cluster is deleted in any case, unless
KEEP_CLUSTER is set. A few failing tests of real servers, a cluster or a browser are run once more, see `reports`. The
last lines are a table of the stages, the flaky tests, and `N passed, N failed` over all of them: a skipped test counts as
failed, because what cannot run has to say so.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from tests.support.reports import Counts, counted, ends_early, passed_again, to_repeat

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "build" / "reports"
CLUSTER = "leveret-test"
PORT_OFFSET = 10_000
TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leveret-cluster" / "bin"
PYTHON = sys.executable
KIT = (PYTHON, "cluster/kit.py")
Command = tuple[str, ...]

TYPED = (
    "leveret", "operator/leveret_operator", "producer/leveret_producer", "consumer/leveret_consumer",
    "cluster", "charts", "examples", "demo", "bench", "chaos", "tests/support/stages.py",
)  # fmt: skip
# Whatever is made from something else: each writes its files, and with --check only says whether they are up to date.
GENERATED: tuple[Command, ...] = (
    (PYTHON, "charts/render.py"),
    (PYTHON, "-m", "charts.dashboards"),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its commands in order, the stages that must have run before, and the longest a test may take."""

    name: str
    commands: tuple[Command, ...] = ()
    needs: tuple[str, ...] = ()
    tests: str | None = None  # the folder that pytest runs after the commands
    test_seconds: int = 120
    workers: int = 1  # processes that share the test files, each with servers of its own
    repeats: bool = False  # a few failing tests are run once more, alone
    all_commands: bool = False  # goes on after a failing command, to show everything at once


@dataclass(frozen=True, slots=True)
class Outcome:
    stage: str
    seconds: float
    ok: bool
    counts: Counts = field(default_factory=Counts)
    flaky: tuple[str, ...] = ()


def module(name: str, *words: str) -> Command:
    return (PYTHON, "-m", name, *words)


CHECKS: tuple[Command, ...] = (
    module("ruff", "check", "."),
    module("ruff", "format", "--check", "."),
    module("mypy", *TYPED),
    (str(Path(PYTHON).parent / "lint-imports"), "--no-logo"),
    module("yamllint", "--strict", "."),
    *((*command, "--check") for command in GENERATED),
)
UP = (*KIT, "up", "--name", CLUSTER, "--config", "kind-config.yaml", "--port-offset", str(PORT_OFFSET))
DOWN = (*KIT, "down", "--name", CLUSTER)
STAGES = {
    stage.name: stage
    for stage in (
        Stage("docs", GENERATED, needs=("tools",)),
        Stage("tools", ((*KIT, "tools"),)),
        Stage("check", CHECKS, needs=("tools",), all_commands=True),
        Stage("unit", workers=2, tests="tests/unit"),
        Stage("servers", ((*KIT, "images", "postgres", "rabbitmq", "prometheus", "pgbouncer"),)),
        Stage("images", ((*KIT, "images"),)),
        Stage("integration", tests="tests/integration", needs=("servers",), test_seconds=300, workers=5, repeats=True),
        Stage("chart", tests="tests/chart", needs=("tools",)),
        Stage(
            "cluster", ((*KIT, "images", "older"), UP, (*KIT, "load", "--name", CLUSTER, "--older")), needs=("images",)
        ),
        Stage("e2e", tests="tests/e2e", needs=("cluster",), test_seconds=900, repeats=True),
        Stage(
            "browser",
            ((*KIT, "packages", "chromium"),),
            tests="tests/browser",
            needs=("cluster",),
            test_seconds=900,
            repeats=True,
        ),
    )
}


def plan(names: Sequence[str]) -> list[Stage]:
    """Put the named stages in order, what they need before them, each once; raises KeyError."""
    found: dict[str, Stage] = {}
    for name in names:
        stage = STAGES[name]
        found |= {needed.name: needed for needed in plan(stage.needs) if needed.name not in found}
        found.setdefault(name, stage)
    return list(found.values())


def commands(stage: Stage) -> list[Command]:
    """List what a stage runs."""
    if not stage.tests:
        return list(stage.commands)
    sharing = () if stage.workers == 1 else (f"--numprocesses={stage.workers}", "--dist=loadfile")
    return [*stage.commands, (*pytest(stage, report_file(stage.name), stage.tests), *sharing)]


def pytest(stage: Stage, report: Path, *tests: str) -> Command:
    return module("pytest", *tests, f"--junitxml={report}", f"--timeout={stage.test_seconds}")


def report_file(name: str) -> Path:
    return REPORTS / f"{name}.xml"


def table(outcomes: Sequence[Outcome]) -> str:
    """Draw the closing table; its last line is `N passed, N failed`."""
    lines = ["", f"{'stage':<14}{'seconds':>9}  {'result':<8}{'passed':>7}{'failed':>8}"]
    for outcome in outcomes:
        counts = outcome.counts
        numbers = f"{counts.passed:>7}{counts.failed:>8}" if counts != Counts() else ""
        result = "passed" if outcome.ok else "FAILED"
        lines.append(f"{outcome.stage:<14}{outcome.seconds:>9.1f}  {result:<8}{numbers}".rstrip())
    lines.append(f"{'total':<14}{sum(outcome.seconds for outcome in outcomes):>9.1f}")
    lines += [f"flaky: {name}" for outcome in outcomes for name in outcome.flaky]
    total = sum((outcome.counts for outcome in outcomes), Counts())
    return "\n".join([*lines, "", f"{total.passed} passed, {total.failed} failed"])


def environment() -> dict[str, str]:
    """Give the stages the fetched tools first on PATH, and a kubeconfig of their own: the user's stays as it is."""
    path = os.pathsep.join([str(TOOLS), str(Path(PYTHON).parent), os.environ.get("PATH", "")])
    kubeconfig = str(ROOT / "build" / f"{CLUSTER}.kubeconfig")
    return os.environ | {"PATH": path, "KUBECONFIG": kubeconfig, "LEVERET_E2E_CONTEXT": f"kind-{CLUSTER}"}


def succeeds(command: Command) -> bool:
    """Run one command where its output can be read."""
    print("$ " + " ".join(word.replace(f"{ROOT}/", "") for word in command), flush=True)
    try:
        return subprocess.run(command, cwd=ROOT, env=environment(), check=False).returncode == 0
    except OSError as problem:
        print(f"{command[0]} cannot be started: {problem.strerror}", flush=True)
        return False


def run(stage: Stage) -> Outcome:
    """Run one stage, saying its name at its start and its time at its end."""
    print(f"\n=== {stage.name}", flush=True)
    began, ok = time.monotonic(), True
    for command in commands(stage):
        ok = succeeds(command) and ok
        if not ok and not stage.all_commands:
            break
    counts, flaky = tested(stage)
    ok = (ok or bool(flaky)) and not counts.failed and (not stage.tests or bool(counts.passed))
    if not ok and not counts.failed:
        counts += Counts(failed=1)  # the stage itself: a command failed, or no test could run
    seconds = time.monotonic() - began
    print(f"=== {stage.name}: {'passed' if ok else 'FAILED'} in {seconds:.1f} s", flush=True)
    return Outcome(stage.name, seconds, ok, counts, flaky)


def tested(stage: Stage) -> tuple[Counts, tuple[str, ...]]:
    """Count the tests that a stage has run, and run once more what may be; name also those that pass only then."""
    report, again = report_file(stage.name), report_file(f"{stage.name}-again")
    if not stage.tests or not report.exists():
        return Counts(), ()
    counts = counted(report.read_text())
    early = ends_early(os.environ.get("PYTEST_ADDOPTS", ""))
    names = to_repeat(report.read_text(), ROOT) if stage.repeats and not early else ()
    if not names:
        return counts, ()
    print(f"=== {stage.name}: {len(names)} failed, and run once more, alone", flush=True)
    again.unlink(missing_ok=True)
    succeeds(pytest(stage, again, *names))
    flaky = passed_again(names, again.read_text(), ROOT) if again.exists() else ()
    return Counts(counts.passed + len(flaky), len(names) - len(flaky)), flaky


def run_all(stages: Sequence[Stage], *, keep_cluster: bool) -> bool:
    """Run stages until one fails; the test cluster is new at the start and gone at the end unless it is to be kept."""
    outcomes: list[Outcome] = []
    cluster_begun = False
    try:
        for stage in stages:
            if stage.name == "cluster":
                cluster_begun = keep_cluster or succeeds(DOWN)  # what an interrupted run left
            outcomes.append(run(stage))
            if not outcomes[-1].ok:
                break
    finally:
        if cluster_begun:
            if outcomes and not outcomes[-1].ok:
                save_logs()
            if keep_cluster:
                print(f"\ncluster {CLUSTER} is kept: python3 {' '.join(DOWN[1:])} deletes it", flush=True)
            else:
                succeeds(DOWN)
        print(table(outcomes), flush=True)
    return all(outcome.ok for outcome in outcomes)


def save_logs() -> None:
    """Keep what the pods of the failing cluster said."""
    print(f"the cluster's logs go to {(REPORTS / 'cluster').relative_to(ROOT)}", flush=True)
    succeeds(
        (
            str(TOOLS / "kind") if (TOOLS / "kind").exists() else "kind",
            "export",
            "logs",
            str(REPORTS / "cluster"),
            "--name",
            CLUSTER,
        )
    )


def stop(_signal: int, _frame: object) -> NoReturn:
    """Let SIGTERM end the run as Ctrl-C does, with the cluster deleted."""
    raise KeyboardInterrupt


def main() -> int:
    """Run the stages named on the command line."""
    signal.signal(signal.SIGTERM, stop)
    REPORTS.mkdir(parents=True, exist_ok=True)
    try:
        stages = plan(sys.argv[1:])
    except KeyError as unknown:
        print(f"there is no stage {unknown}: there are {', '.join(STAGES)}", file=sys.stderr)
        return 2
    for stage in stages:
        report_file(stage.name).unlink(missing_ok=True)
    try:
        return 0 if run_all(stages, keep_cluster=bool(os.environ.get("KEEP_CLUSTER"))) else 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
