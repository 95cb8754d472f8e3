"""A real RabbitMQ and a real PostgreSQL for the integration tests, started by the test run itself.

`rabbitmq` and `postgres` are shared by the whole run; a test that kills one starts it again before it ends. Each test
gets a virtual host and a database of its own: `broker` and `database`.

A RabbitMQ that was killed under load, or whose delay levels were deleted, may make no quorum queue any more, or none that
dead-letters at least once ("cluster_not_formed"). Who did that to it may fail, with its log; those who come next get another one.
"""

import itertools
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from containers import Server, makes_queues, management, postgres_server, rabbitmq_server

from leveret.settings import Broker, Database

_numbers = itertools.count()
_REPORTS = Path(__file__).resolve().parents[2] / "build" / "reports"
_TELLING = ("[warning]", "[error]", "[critical]", "Starting RabbitMQ", "Server startup complete")


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Server]:
    with rabbitmq_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with postgres_server() as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    servers = getattr(item, "funcargs", {})
    if report.failed and "rabbitmq" in servers:
        server = servers["rabbitmq"]
        whole, said = _REPORTS / f"{server.name}.log", server.said(100_000)
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_text(said)
        lines = [line for line in said.splitlines() if any(one in line for one in _TELLING)]
        told = [line for line in lines if not line.partition(">")[2].startswith("    ")]  # not the state of a crash
        report.sections.append((f"RabbitMQ's log, all of it in build/reports/{whole.name}", "\n".join(told[-60:])))
    return report


@pytest.fixture
def broker(rabbitmq: Server) -> Iterator[Broker]:
    if not makes_queues(rabbitmq):
        rabbitmq.remove()
        rabbitmq.create()
    vhost = f"test{next(_numbers)}"
    management(rabbitmq, f"vhosts/{vhost}", "PUT", {})
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    management(rabbitmq, f"permissions/{vhost}/leveret", "PUT", everything)
    yield Broker("127.0.0.1", rabbitmq.ports[5672], "leveret", "leveret", vhost)
    management(rabbitmq, f"vhosts/{vhost}", "DELETE")


@pytest.fixture
def database(postgres: Server) -> Iterator[Database]:
    name = f"test{next(_numbers)}"
    postgres.run("psql", "-q", "-U", "leveret", "-c", f"create database {name}")
    yield Database("127.0.0.1", postgres.ports[5432], "leveret", "leveret", name)
    postgres.run("psql", "-q", "-U", "leveret", "-c", f"drop database {name} with (force)")
