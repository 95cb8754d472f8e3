"""Processes of ours, started by a test and killed when it ends."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., subprocess.Popen[bytes]]


@contextlib.contextmanager
def starting(logs: Path) -> Iterator[Start]:
    """Give what starts a module as a process with its variables."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(module: str, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **variables}
        with (logs / f"{len(started)}.log").open("wb") as log:
            command = [sys.executable, "-m", module, *arguments]
            started.append(subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log))
        return started[-1]

    try:
        yield begin
    finally:
        for process in started:
            process.kill()
            process.wait()


def pg_variables(url: str) -> dict[str, str]:
    parts = httpx.URL(url)
    return {"PGHOST": parts.host, "PGPORT": str(parts.port), "PGDATABASE": parts.path[1:], "PGUSER": parts.username,
            "PGPASSWORD": parts.password}  # fmt: skip
