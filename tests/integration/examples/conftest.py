"""Service A of tasks: its database server, with tables and without, and its processes."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from containers import Server, free_port, postgres_server
from producers import database_url

from examples.tasks.store import Store
from leveret.settings import Database

ROOT = Path(__file__).resolve().parents[3]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(scope="session")
def own() -> Iterator[Server]:
    """Service A's database server: another one than Leveret's, so that it can be away alone."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def empty(own: Server) -> Iterator[str]:
    """The URL of an empty database."""
    name = f"a{free_port()}"
    own.run("psql", "-q", "-U", "leveret", "-c", f"create database {name}")
    yield database_url(Database("127.0.0.1", own.ports[5432], "leveret", "leveret", name))
    own.run("psql", "-q", "-U", "leveret", "-c", f"drop database {name} with (force)")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a module as a process with its variables; it is killed when the test ends."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(module: str, **variables: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **variables}
        with (tmp_path / f"{len(started)}.log").open("wb") as log:
            command = [sys.executable, "-m", module]
            started.append(subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
async def store(empty: str, start: Start) -> AsyncIterator[Store]:
    """A database with its tables."""
    assert start("examples.tasks.migrate", DATABASE_URL=empty).wait(60) == 0
    store = Store(empty)
    yield store
    await store.close()
