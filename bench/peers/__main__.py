"""Measure Leveret's worker beside its peers': `make peers`, which installs them first."""

import argparse
import asyncio
import json
import os
import platform
import re
import signal
import sys
from collections import defaultdict
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from rich.console import Console

from bench.peers.figures import Figures, Goal, goals, table
from bench.peers.libraries import LIBRARIES, LOADS, PEERS
from bench.peers.turn import Turn
from bench.processes import Failed
from bench.versions import ROOT
from leveret.rabbitmq.connection import BrokerErrors
from tests.support.containers import rabbitmq_server

_LOCKED = re.compile(r"^(?:celery|dramatiq|taskiq|taskiq-aio-pika|faststream)==[^\s\\]+", re.MULTILINE)
_MODEL = re.compile(r"^model name\s*: (.+)", re.MULTILINE)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    names = [one.name for one in LIBRARIES]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="LIBRARY", help=", ".join(names))
    parser.add_argument("--turns", type=int, default=3, help="of each library with each load (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=12_000, help="of each half of a turn (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=5.0, metavar="S", help="between both (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args()


class Run:
    def __init__(self) -> None:
        self.console = Console(width=None if sys.stdout.isatty() else 100)
        self.found: dict[tuple[str, str], list[Figures]] = defaultdict(list)
        self.failed: list[str] = []

    def note(self, line: str) -> None:
        self.console.print(line, style="bright_black", highlight=False, soft_wrap=True)

    async def measure(self, turn: Turn, turns: int, only: list[str]) -> None:
        """Let the libraries take turns; one that fails leaves the others their turn."""
        chosen = [(load, one) for load in LOADS for one in LIBRARIES if one.name in only and load in one.loads]
        for number in range(1, turns + 1):
            for load, library in chosen:
                what = f"turn {number}, {load.name}, {library.name}"
                try:
                    one = await turn(library, load)
                except (Failed, OSError, *BrokerErrors) as problem:
                    self.failed.append(f"{what}: {str(problem) or type(problem).__name__}")
                    self.note(self.failed[-1])
                else:
                    self.found[load.name, library.name].append(one)
                    self.note(f"{what}: {one.rate:,.0f}/s, {one.cpu:.0f} µs of CPU for a job")

    def document(self, reached: list[Goal]) -> dict[str, object]:
        return where() | {
            "turns": {" | ".join(key): [asdict(one) for one in turns] for key, turns in self.found.items()},
            "goals": [asdict(one) | {"reached": one.reached} for one in reached],
            "failed": self.failed,
        }


def where() -> dict[str, str]:
    """Tell what the figures belong to."""
    model = _MODEL.search(Path("/proc/cpuinfo").read_text())
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": " ".join(_LOCKED.findall((ROOT / "requirements" / "peers.txt").read_text())),
    }


def main() -> int:
    """Return the exit code: 0 all was measured, 1 something didn't run, or a job was lost or run twice."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wanted, run, cores = options(), Run(), sorted(os.sched_getaffinity(0))
    if len(cores) < 2 or not PEERS.exists():
        print("peers: it needs two cores, and what `make peers` installs into build/peers/venv", file=sys.stderr)
        return 1
    os.sched_setaffinity(0, cores[:1])  # the broker's: of those who publish, too, and of the drain of our events
    run.note("starting RabbitMQ …")
    try:
        with rabbitmq_server("--cpuset-cpus", str(cores[0]), on_disk=True) as rabbitmq:
            turn = Turn(rabbitmq, cores[1], wanted.jobs, wanted.warm_up)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(run.measure(turn, wanted.turns, wanted.only))
    except (RuntimeError, TimeoutError) as problem:
        print(f"peers: RabbitMQ can't be run in a container: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("peers: stopped; processes and containers are gone", file=sys.stderr)
        return 130
    reached = goals(run.found)
    run.console.print(table(run.found, "; ".join(f"{key} {value}" for key, value in where().items())))
    print(*reached, sep="\n")
    if wanted.json:
        wanted.json.write_text(json.dumps(run.document(reached), indent=2) + "\n")
    print(*(f"peers: {failure}" for failure in run.failed), sep="\n", end="\n" if run.failed else "", file=sys.stderr)
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
