"""What tests of fronts share: their processes, and a database that is a front's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import Server, free_port
from processes import Start, starting
from producers import database_url

from leveret.settings import Database


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as begin:
        yield begin


@pytest.fixture
def kept(postgres: Server) -> Iterator[str]:
    """The URL of a database for the front alone."""
    name = f"front{free_port()}"
    postgres.run("psql", "-q", "-U", "leveret", "-c", f"create database {name}")
    yield database_url(Database("127.0.0.1", postgres.ports[5432], "leveret", "leveret", name))
    postgres.run("psql", "-q", "-U", "leveret", "-c", f"drop database {name} with (force)")
