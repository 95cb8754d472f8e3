"""PgBouncer before a PostgreSQL of the tests."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from containers import Server, server

PORT = 6432
IGNORED = "statement_timeout, idle_in_transaction_session_timeout, lock_timeout"
_ASKS_FOR_TLS = bytes.fromhex("0000000804d2162f")


def _answers(pooler: Server) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", pooler.ports[PORT]), timeout=1) as link:
        link.sendall(_ASKS_FOR_TLS)
        return link.recv(1) == b"N"
    return False


@contextlib.contextmanager
def pgbouncer(postgres: Server, folder: Path, **settings: object) -> Iterator[Server]:
    """Run one for as long as the context lasts; whoever comes is the role `leveret`, and each database is PostgreSQL's."""
    address = postgres.run("hostname", "-i")
    everything = {"listen_addr": "*", "listen_port": PORT, "auth_type": "any", **settings}
    lines = ["[databases]", f"* = host={address} port=5432 user=leveret password=leveret", "[pgbouncer]"]
    file = folder / "pgbouncer.ini"
    file.write_text("\n".join([*lines, *(f"{key} = {value}" for key, value in everything.items()), ""]))
    file.chmod(0o644)
    mounted = ("-v", f"{file}:/etc/pgbouncer/pgbouncer.ini:ro")
    with server("leveret/pgbouncer:trixie", (PORT,), {}, _answers, *mounted) as pooler:
        yield pooler
