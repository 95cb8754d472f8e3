"""Measure Leveret against bare references and check the limits: `python -m bench`."""

import argparse
import asyncio
import contextlib
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import uvloop
import yaml
from rich.console import Console

from bench import report
from bench.processes import Failed
from bench.ratios import Result, WrongLimits, checked_limits, judge
from bench.run import ALL, LONGEST, measure_all, needs_servers
from bench.servers import NoServers, servers

LIMITS = Path(__file__).with_name("limits.yaml")
MOST_REPETITIONS = 20


@dataclass(frozen=True, slots=True)
class Options:
    only: tuple[str, ...]  # in the order of ALL; all of them if nothing is asked for
    repeat: int
    json: Path | None


def options(arguments: list[str] | None = None) -> Options:
    names = [one.name for one in ALL]
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure Leveret against bare references on the same servers."
    )
    parser.add_argument("--only", action="append", choices=names, help="make this measure (may be repeated)")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="turns of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    given = parser.parse_args(arguments)
    if not 1 <= given.repeat <= MOST_REPETITIONS:
        parser.error(f"--repeat must be 1 to {MOST_REPETITIONS}, not {given.repeat}")
    wanted = given.only or names
    return Options(tuple(name for name in names if name in wanted), given.repeat, given.json)


def measured(wanted: Options, console: Console) -> list[Result]:
    """Start what is needed, measure, and end it again; raise Failed or NoServers."""
    measures = [one for one in ALL if one.name in wanted.only]

    def note(line: str) -> None:
        console.print(line, style="bright_black", highlight=False)

    with contextlib.ExitStack() as stack:
        started = None
        if needs_servers(measures):
            note("starting RabbitMQ and PostgreSQL …")
            started = stack.enter_context(servers())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(measure_all(measures, started, wanted.repeat, note))


def main() -> int:
    """Return the exit code: 0 all limits reached, 1 one missed or not measured, 2 wrong usage."""
    signal.signal(signal.SIGTERM, _interrupt)
    wanted, console = options(), Console()
    try:
        limits = checked_limits(yaml.safe_load(LIMITS.read_text()), [one.name for one in ALL])
        results = measured(wanted, console)
    except WrongLimits as problem:
        print(f"bench: {LIMITS.name} can't be used: {problem}", file=sys.stderr)
        return 1
    except (Failed, NoServers) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped; processes and containers are gone", file=sys.stderr)
        return 130
    verdicts = judge(results, limits)
    console.print(report.table(verdicts, {one.name: one.compared for one in ALL}))
    if wanted.json:
        wanted.json.write_text(report.document(verdicts))
    left = wanted.only[len(results) :]
    if left:
        print(
            f"bench: not measured within {LONGEST:.0f} s: {', '.join(left)}; the machine is too busy, "
            "and --only NAME makes one measure alone",
            file=sys.stderr,
        )
    missed = [one.result.name for one in verdicts if not one.reached]
    if missed:
        print(f"bench: slower than the limit: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed or left else 0


def _interrupt(number: int, frame: object) -> NoReturn:
    """Let SIGTERM end the run as Ctrl-C does, with everything cleaned up."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
