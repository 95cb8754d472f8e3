"""Make a run: `python -m chaos`. The environment names its seed and its size, as does the command line."""

import argparse
import asyncio
import logging
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from chaos.cluster import ROOT, ClusterProblem
from chaos.jobqueues import clock_library
from chaos.own_cluster import own_cluster
from chaos.run import run
from chaos.stage import FRONT, Broken, Options
from chaos.store import Unanswered
from chaos.stretches import Size, Stretch
from chaos.submit import NotAccepted

FOLDER = ROOT / "build" / "chaos"
MOST_JOBS, MOST_FAULTS, MOST_STOPS = 1_000_000, 1000, 100_000


def options(arguments: list[str] | None = None) -> Options:
    environment = os.environ
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Jobs under faults, and the account of each.")
    defaults = {
        "seed": environment.get("CHAOS_SEED") or secrets.randbelow(100_000),
        "jobs": environment.get("CHAOS_JOBS") or 20_000,
        "faults": environment.get("CHAOS_FAULTS") or 36,
        "stops": environment.get("CHAOS_STOPS") or 1_000,
    }
    for name, default in defaults.items():
        words = f"or CHAOS_{name.upper()} (default: %(default)s)"
        parser.add_argument(f"--{name}", type=int, metavar="N", default=default, help=words)
    only = "nothing but this stretch of a run (default: the mix, and in a long run all)"
    parser.add_argument(
        "--only", type=Stretch, choices=list(Stretch), default=environment.get("CHAOS_ONLY") or None, help=only
    )
    parser.add_argument("--context", default="kind-leveret-test", help="kubectl's context (default: %(default)s)")
    parser.add_argument("--namespace", default="leveret", help="where Leveret is installed (default: %(default)s)")
    parser.add_argument("--url", default="http://127.0.0.1:18080", help="the API (default: %(default)s)")
    parser.add_argument("--front", default=FRONT, help="bulk-insert's (default: %(default)s)")
    parser.add_argument("--amqp", default="127.0.0.1:35672", help="the broker, host:port (default: %(default)s)")
    parser.add_argument(
        "--own-cluster", action="store_true", help="have the cluster leveret-test, and delete it at the end"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for what is kept (default: build/chaos)")
    given = parser.parse_args(arguments)
    if not 1 <= given.jobs <= MOST_JOBS:
        parser.error(f"the number of jobs must be 1 to {MOST_JOBS:,}, not {given.jobs}")
    if not 0 <= given.faults <= MOST_FAULTS:
        parser.error(f"the number of faults must be 0 to {MOST_FAULTS:,}, not {given.faults}")
    if not 1 <= given.stops <= MOST_STOPS:
        parser.error(f"the number of stops must be 1 to {MOST_STOPS:,}, not {given.stops}")
    return Options(
        given.seed,
        Size(given.jobs, given.faults, given.only, given.stops),
        given.context,
        given.namespace,
        given.url.rstrip("/"),
        given.amqp,
        given.folder,
        given.own_cluster,
        given.front.rstrip("/"),
    )


async def chaos(wanted: Options) -> int:
    """Return the exit code: 0 all is accounted for, 1 not so, or no run was possible."""
    task = asyncio.current_task()
    assert task is not None
    wanted.folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=wanted.folder / "chaos.log", filemode="w")  # what libraries say of lost connections
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    ledger = None
    keep = bool(os.environ.get("KEEP_CLUSTER"))
    try:
        async with own_cluster(keep=keep, library=clock_library() is None) if wanted.own_cluster else nullcontext():
            ledger = await run(wanted)
    except* (Broken, ClusterProblem, NotAccepted, Unanswered, OSError) as problems:
        for problem in _each(problems):
            print(f"chaos: {problem}", file=sys.stderr)
    if ledger is None:
        return 1
    if not ledger.good:
        print(f"\nWhat is needed to look closer is in {wanted.folder}.")
    print(ledger.line, flush=True)
    return 0 if ledger.good else 1


def _each(problem: BaseException) -> Iterator[BaseException]:
    if isinstance(problem, BaseExceptionGroup):
        for one in problem.exceptions:
            yield from _each(one)
    else:
        yield problem


def main() -> int:
    try:
        return asyncio.run(chaos(options()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("chaos: stopped; faults are taken back", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
