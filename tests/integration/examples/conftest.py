"""What tests of fronts share: their processes, and databases that are a front's own."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from containers import Server, free_port, postgres_server
from mailer_post import Post, listening
from processes import Start, starting
from producers import database_url

from examples.mailer.smtp_server import Witness
from examples.mailer.store import Store as Mails
from examples.tasks.store import Store
from leveret.settings import Database


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a module as a process with its variables; it is killed when the test ends."""
    with starting(tmp_path) as begin:
        yield begin


@pytest.fixture
def kept(postgres: Server) -> Iterator[str]:
    """The URL of a database for the front alone."""
    yield from _database(postgres)


@pytest.fixture(scope="session")
def own() -> Iterator[Server]:
    """A database server of a front's own: another one than Leveret's, so that it can be away alone."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def empty(own: Server) -> Iterator[str]:
    """The URL of an empty database on it."""
    yield from _database(own)


@pytest.fixture
async def store(empty: str, start: Start) -> AsyncIterator[Store]:
    """A database of tasks with its tables."""
    assert start("examples.tasks.migrate", DATABASE_URL=empty).wait(60) == 0
    store = Store(empty)
    yield store
    await store.close()


def _database(server: Server) -> Iterator[str]:
    name = f"front{free_port()}"
    server.run("psql", "-q", "-U", "leveret", "-c", f"create database {name}")
    yield database_url(Database("127.0.0.1", server.ports[5432], "leveret", "leveret", name))
    server.run("psql", "-q", "-U", "leveret", "-c", f"drop database {name} with (force)")


@pytest.fixture
async def post(kept: str, tmp_path: Path) -> AsyncIterator[Post]:
    found = Post(tmp_path, Mails(kept), kept, [Witness(tmp_path / f"smtp-{n}") for n in (1, 2)])
    async with listening(found.servers[0]) as one, listening(found.servers[1]) as two:
        listed = [
            {"name": f"smtp-{n}", "host": "127.0.0.1", "port": port, "tls": "none", "rate": 1000, "burst": 1000}
            for n, port in ((1, one), (2, two))
        ]
        (tmp_path / "backends.json").write_text(json.dumps(listed))
        yield found
    await found.store.close()
