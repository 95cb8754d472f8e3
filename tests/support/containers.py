"""Real servers for tests, in containers on the loopback address, with ports that stay the same over stop and start."""

import contextlib
import json
import os
import random
import socket
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LABEL = "leveret.test"
FIRST_PORT, PORTS_EACH, RANGES = 20_000, 1_500, 8  # up to 32,000, where the kernel's own are not far
_given: set[int] = set()


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"docker {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def free_port() -> int:
    """Give a port to listen on that nobody else is given.

    The kernel hands out the ports from 32768 on to outgoing connections: one of those may be taken again before the
    server that it is meant for has started. Each of the processes that share the tests has a range of its own, also one
    that takes the place of a crashed one and has the next number.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % RANGES
    while True:
        port = random.randrange(*(FIRST_PORT + (worker + part) * PORTS_EACH for part in (0, 1)))
        with socket.socket() as probe, contextlib.suppress(OSError):
            if port not in _given:
                probe.bind(("127.0.0.1", port))
                _given.add(port)
                return port


def wait_until(what: str, probe: Callable[[], bool], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.1)


@dataclass(frozen=True)
class Server:
    """A container that can be killed, stopped and started again on the same ports with its data."""

    name: str
    ports: dict[int, int]  # the container's port → ours
    ready: Callable[["Server"], bool]
    created: tuple[str, ...]  # with these words for docker

    def create(self) -> None:
        docker(*self.created)
        self.wait()

    def remove(self) -> None:
        docker("rm", "-f", "-v", self.name)

    def said(self, lines: int) -> str:
        """Return the end of its log."""
        done = subprocess.run(
            ["docker", "logs", "--tail", str(lines), self.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout

    def kill(self) -> None:
        docker("kill", self.name)

    def stop(self) -> None:
        docker("stop", self.name)

    def pause(self) -> None:
        docker("pause", self.name)

    def unpause(self) -> None:
        docker("unpause", self.name)

    def run(self, *words: str) -> str:
        return docker("exec", self.name, *words)

    def start(self) -> None:
        docker("start", self.name)
        self.wait()

    def wait(self) -> None:
        wait_until(f"{self.name} ready", lambda: self.ready(self))


@contextlib.contextmanager
def server(
    image: str, ports: tuple[int, ...], environment: dict[str, str], ready: Callable[[Server], bool], *words: str
) -> Iterator[Server]:
    """Run a container for as long as the context lasts, with more words for `docker run`."""
    mapped = {port: free_port() for port in ports}
    name = f"leveret-test-{image.split(':')[0].split('/')[-1]}-{mapped[ports[0]]}"
    flags = [word for inside, outside in mapped.items() for word in ("-p", f"127.0.0.1:{outside}:{inside}")]
    flags += [word for key, value in environment.items() for word in ("-e", f"{key}={value}")]
    created = ("run", "-d", "--name", name, "--hostname", name, "--label", LABEL, *flags, *words, image)
    made = Server(name, mapped, ready, created)
    try:
        made.create()
        yield made
    finally:
        made.remove()


def rabbitmq_server(*words: str) -> contextlib.AbstractContextManager[Server]:
    """RabbitMQ with user and password `leveret`: ports 5672, 15672 (management) and 15692 (metrics); 5671 is for TLS, see `tls`."""
    environment = {"RABBITMQ_DEFAULT_USER": "leveret", "RABBITMQ_DEFAULT_PASS": "leveret"}
    return server("rabbitmq:4.3-management", (5671, 5672, 15672, 15692), environment, _rabbitmq_ready, *words)


def postgres_server() -> contextlib.AbstractContextManager[Server]:
    """PostgreSQL with user, password and database `leveret`: port 5432."""
    environment = {"POSTGRES_USER": "leveret", "POSTGRES_PASSWORD": "leveret", "POSTGRES_DB": "leveret"}
    return server("postgres:17-trixie", (5432,), environment, _postgres_ready)


def management(server: Server, path: str, method: str = "GET", body: object = None) -> object:
    """Ask RabbitMQ's management API (rabbitmqctl boots a virtual machine for each call: a second of a core).

    Returns what it answers, None for an empty answer; raises OSError while it does not answer or when it refuses.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.ports[15672]}/api/{path}", data=data, method=method)
    request.add_header("Authorization", "Basic " + b64encode(b"leveret:leveret").decode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        said = answer.read()
        return json.loads(said) if said else None


def makes_queues(rabbitmq: Server) -> bool:
    """Tell whether it makes a quorum queue."""
    queue = "queues/%2F/well"
    try:
        management(rabbitmq, queue, "PUT", {"durable": True, "arguments": {"x-queue-type": "quorum"}})
        management(rabbitmq, queue, "DELETE")
    except urllib.error.HTTPError as problem:
        problem.close()
        return False
    except OSError:
        return False
    return True


def _rabbitmq_ready(server: Server) -> bool:
    try:
        management(server, "overview")
        with socket.create_connection(("127.0.0.1", server.ports[5672]), timeout=1) as link:
            link.sendall(b"AMQP\x00\x00\x09\x01")
            return link.recv(1) == b"\x01"
    except urllib.error.HTTPError as problem:
        problem.close()
        return False
    except OSError:
        return False


def _postgres_ready(server: Server) -> bool:
    command = [
        "docker",
        "exec",
        "-e",
        "PGPASSWORD=leveret",
        server.name,
        "psql",
        "-h",
        "127.0.0.1",
        "-U",
        "leveret",
        "-c",
        "select 1",
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
