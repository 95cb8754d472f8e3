"""kind's configuration file: its host ports, and a copy of it with other ports for a second cluster.

Read as text, because Python's standard library has no YAML; the file is ours, one port to a line.
"""

import errno
import re
import socket
from pathlib import Path

from .cache import REPOSITORY
from .console import Fail

HOST_PORT = re.compile(r"(?m)^([^#\n]*\bhostPort:\s*)(\d+)")


def host_ports(text: str) -> list[int]:
    """List the host ports of a configuration."""
    return [int(port) for _, port in HOST_PORT.findall(text)]


def shifted(text: str, offset: int) -> str:
    """Add an offset to every host port; raises Fail where one would not be a port.

    Both clusters may run at once, so a port that would fall on one of the first cluster's moves on by the offset until
    it is free: 5672 + 10000 is the first one's 15672, and 25672 is the second one's own, so AMQP goes to 35672.
    """
    first = host_ports(text)
    plain = {port: port + offset for port in first}
    moved = {}
    for port, new in plain.items():
        while offset and (new in first or (new in plain.values() and new != plain[port])):
            new += offset
        if not 0 < new <= 65535:
            raise Fail(f"host port {port} + {offset} is not a port that is free: {new}")
        moved[port] = new
    return HOST_PORT.sub(lambda found: f"{found[1]}{moved[int(found[2])]}", text)


def derive(config: Path, name: str, offset: int) -> Path:
    """Write the configuration of a second cluster into build/; gives its path."""
    path = REPOSITORY / "build" / f"kind-{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"# Made from {config.name}: host ports + {offset}.\n{shifted(config.read_text(), offset)}")
    return path


def roles(text: str) -> list[str]:
    """List the roles of a configuration's nodes."""
    return re.findall(r"(?m)^\s*-\s*role:\s*(\S+)", text)


def taken(ports: list[int]) -> list[int]:
    """List those ports that something listens on at 127.0.0.1."""
    return [port for port in ports if not _free(port)]


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as problem:
            return problem.errno != errno.EADDRINUSE
    return True
