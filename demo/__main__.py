"""Run the demonstration: `python -m demo`."""

import argparse
import sys

from rich.console import Console

from demo.api import NotThere
from demo.run import Options, demonstrate

MOST_JOBS = 100_000


def options(arguments: list[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Check URLs through a running Leveret, watch, and leave all examples running.",
    )
    parser.add_argument("--jobs", type=int, default=3000, metavar="N", help="URLs to check (default: %(default)s)")
    parser.add_argument("--until-zero", action="store_true", help="watch on until the last consumer pod is gone")
    parser.add_argument("--context", default="kind-leveret", help="kubectl's context (default: %(default)s)")
    parser.add_argument("--namespace", default="leveret", help="where Leveret is installed (default: %(default)s)")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the API (default: %(default)s)")
    given = parser.parse_args(arguments)
    if not 1 <= given.jobs <= MOST_JOBS:
        parser.error(f"--jobs must be 1 to {MOST_JOBS:,}, not {given.jobs}")
    return Options(
        jobs=given.jobs,
        context=given.context,
        namespace=given.namespace,
        url=given.url.rstrip("/"),
        until_zero=given.until_zero,
    )


def main() -> int:
    console = Console(highlight=False)
    try:
        demonstrate(options(), console)
    except NotThere as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped watching. Jobs that were accepted go on; `kubectl -n leveret get jq` shows them.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
