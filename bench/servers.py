"""A real RabbitMQ and a real PostgreSQL in containers on the loopback address, gone at the end.

They are started by the integration tests' own helper, `tests/support/containers.py`. Here it is imported from the
repository's root, where `python -m bench` is run, so that no search path has to be changed for it.
"""

import contextlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote
from urllib.request import Request, urlopen

from leveret.settings import Broker, Database
from tests.support.containers import Server, postgres_server, rabbitmq_server

USER = "leveret"  # and password, of servers that only this machine reaches for some minutes


class NoServers(Exception):
    """The servers can't be started; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """A virtual host and a database of one measure's own."""

    broker: Broker
    database: Database

    def database_url(self) -> str:
        one = self.database
        password = quote(one.password, safe="")
        return f"postgresql://{one.username}:{password}@{one.host}:{one.port}/{one.dbname}"


@dataclass(frozen=True, slots=True)
class Servers:
    rabbitmq: Server
    postgres: Server

    def place(self, name: str) -> Place:
        """Make a virtual host and a database of that name; they go with the servers."""
        request = Request(f"http://127.0.0.1:{self.rabbitmq.ports[15672]}/api/vhosts/{name}", method="PUT")
        request.add_header("Authorization", "Basic " + b64encode(f"{USER}:{USER}".encode()).decode())
        with urlopen(request, timeout=10):  # noqa: S310 - the address is ours
            pass  # whoever makes a virtual host may use it
        self.postgres.run("psql", "-q", "-U", USER, "-c", f"create database {name}")
        return Place(
            Broker("127.0.0.1", self.rabbitmq.ports[5672], USER, USER, name),
            Database("127.0.0.1", self.postgres.ports[5432], USER, USER, name),
        )


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Start both; raise NoServers."""
    with contextlib.ExitStack() as stack:
        try:
            rabbitmq = stack.enter_context(rabbitmq_server(on_disk=True))
            postgres = stack.enter_context(postgres_server(on_disk=True))
        except (RuntimeError, OSError) as problem:
            raise NoServers(
                f"RabbitMQ and PostgreSQL can't be started in containers: {problem}. Docker must run, and "
                "`python3 cluster/kit.py images rabbitmq postgres` gets the images"
            ) from problem
        yield Servers(rabbitmq, postgres)
