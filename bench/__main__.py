"""Measure Leveret against bare references, or against an older commit, and check the limits: `python -m bench`."""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import uvloop
import yaml
from rich.console import Console

from bench import report
from bench.comparisons import BASE, Comparison, against, bare, on_a_large_table
from bench.measures import Measure, PureMeasure, results_of
from bench.processes import Failed
from bench.ratios import Limit, Result, WrongLimits, checked_limits, judge, part_of
from bench.run import measure_all, needs_servers
from bench.servers import NoServers, servers
from bench.versions import TODAY, NoCommit, Version, version_of

LIMITS = Path(__file__).with_name("limits.yaml")
MOST_REPETITIONS = 20


@dataclass(frozen=True, slots=True)
class Options:
    base: str | None  # a commit; None: the bare references
    only: tuple[str, ...]  # names of measures; none asks for all
    repeat: int
    json: Path | None
    table: bool = False


def options(arguments: list[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure Leveret against bare references, or against an older commit, on the same servers.",
    )
    parser.add_argument(
        "--base",
        nargs="?",
        const=BASE,
        metavar="COMMIT",
        help=f"against Leveret at this commit ({BASE} if none is named)",
    )
    parser.add_argument(
        "--table", action="store_true", help="what statements read of a large table, beside a small one"
    )
    parser.add_argument("--only", nargs="+", action="extend", default=[], metavar="NAME", help="make these measures")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="turns of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    given = parser.parse_args(arguments)
    if not 1 <= given.repeat <= MOST_REPETITIONS:
        parser.error(f"--repeat must be 1 to {MOST_REPETITIONS}, not {given.repeat}")
    if given.base and given.table:
        parser.error("--base and --table are two comparisons: ask for one")
    names = [one.name for one in compared(TODAY if given.base else None, table=given.table).measures]
    if odd := [name for name in given.only if name not in names]:
        parser.error(f"--only: there is no {', '.join(odd)} here, there are {', '.join(names)}")
    return Options(given.base, tuple(given.only), given.repeat, given.json, given.table)


def compared(base: Version | None, *, table: bool) -> Comparison:
    return on_a_large_table() if table else against(base) if base else bare()


def chosen(comparison: Comparison, only: Sequence[str]) -> list[Measure | PureMeasure]:
    """Return the measures that are asked for, in our order."""
    return [one for one in comparison.measures if not only or one.name in only]


def limits_of(comparison: Comparison) -> dict[str, Limit]:
    """Read the limits of all results that a comparison can have; raise WrongLimits."""
    names = [name for one in comparison.measures for name in results_of(one)]
    return checked_limits(part_of(yaml.safe_load(LIMITS.read_text()), comparison.limits), names)


def measured(measures: Sequence[Measure | PureMeasure], repeat: int, longest: float, console: Console) -> list[Result]:
    """Start what is needed, measure, and end it again; raise Failed or NoServers."""

    def note(line: str) -> None:
        console.print(line, style="bright_black", highlight=False, soft_wrap=True)

    with contextlib.ExitStack() as stack:
        started = None
        if needs_servers(measures):
            note("starting RabbitMQ and PostgreSQL …")
            started = stack.enter_context(servers())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(measure_all(measures, started, repeat, longest, note))


def main() -> int:
    """Return the exit code: 0 all limits reached, 1 one missed or not measured, 2 wrong usage."""
    signal.signal(signal.SIGTERM, _interrupt)
    wanted, console = options(), Console()
    try:
        comparison = compared(version_of(wanted.base) if wanted.base else None, table=wanted.table)
        measures, limits = chosen(comparison, wanted.only), limits_of(comparison)
        results = measured(measures, wanted.repeat, comparison.longest, console)
    except WrongLimits as problem:
        print(f"bench: {LIMITS.name} can't be used: {problem}", file=sys.stderr)
        return 1
    except (Failed, NoCommit, NoServers) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped; processes and containers are gone", file=sys.stderr)
        return 130
    verdicts = judge(results, limits)
    console.print(report.table(verdicts, comparison.title, {one.name: one.compared for one in measures}))
    if wanted.json:
        wanted.json.write_text(report.document(verdicts))
    have = {result.name for result in results}
    left = [one.name for one in measures if have.isdisjoint(results_of(one))]
    if left:
        print(
            f"bench: not measured within {comparison.longest:.0f} s: {', '.join(left)}; the machine is too busy, "
            "and --only NAME makes one measure alone",
            file=sys.stderr,
        )
    missed = [one.result.name for one in verdicts if not one.reached]
    if missed:
        print(f"bench: worse than the limit: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed or left else 0


def _interrupt(number: int, frame: object) -> NoReturn:
    """Let SIGTERM end the run as Ctrl-C does, with everything cleaned up."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
