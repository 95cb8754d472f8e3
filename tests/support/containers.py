"""Real servers for tests, in containers on the loopback address, with ports that stay the same over stop and start."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from leveret import topology

LABEL = "leveret.test"
FIRST_PORT, PORTS_EACH, RANGES = 20_000, 1_500, 8  # up to 32,000, where the kernel's own are not far
RABBITMQ_DATA, POSTGRES_DATA = "/var/lib/rabbitmq", "/var/lib/postgresql/data"
MEMORY, ENOUGH = Path("/dev/shm"), 8 << 30  # bytes
LEFT_AFTER = 600  # s
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
    memory: Path | None = None  # where its data is

    def create(self) -> None:
        self.begin()
        self.wait()

    def begin(self) -> None:
        if self.memory:
            _sweep(self.memory.parent)
            self.memory.mkdir(parents=True, exist_ok=True)
        docker(*self.created)

    def remove(self) -> None:
        docker("rm", "-f", "-v", self.name)
        if self.memory:
            shutil.rmtree(self.memory, ignore_errors=True)

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


def _sweep(folder: Path) -> None:
    """Remove the data of containers that an interrupted run left, but not of those that others are about to create."""
    there = docker("ps", "-a", "--format", "{{.Names}}").split()
    for left in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # its own process was faster
            if left.name not in there and time.time() - left.stat().st_mtime > LEFT_AFTER:
                shutil.rmtree(left, ignore_errors=True)


def in_memory(name: str, data: str) -> tuple[Path | None, tuple[str, ...]]:
    """Give a folder in memory for a container's folder `data`, and docker's words for it, where there is memory enough.

    There it outlives a kill as it would on a disk. On a disk that others write to, syncing it may take seconds: RabbitMQ gives
    a new quorum queue 5 s, and then says that it can't be made (cluster_not_formed).
    """
    try:
        enough = shutil.disk_usage(MEMORY).free >= ENOUGH
    except OSError:
        enough = False
    if not enough or os.geteuid():  # only root may clear it away
        return None, ()
    folder = MEMORY / LABEL / name
    options = f"volume-driver=local,volume-opt=type=none,volume-opt=o=bind,volume-opt=device={folder}"
    return folder, ("--mount", f"type=volume,dst={data},{options}")


@contextlib.contextmanager
def server(
    image: str,
    ports: tuple[int, ...],
    environment: dict[str, str],
    ready: Callable[[Server], bool],
    *words: str,
    data: str | None = None,
) -> Iterator[Server]:
    """Run a container for as long as the context lasts, with more words for `docker run`, its folder `data` in memory."""
    mapped = {port: free_port() for port in ports}
    name = f"leveret-test-{image.split(':')[0].split('/')[-1]}-{mapped[ports[0]]}"
    flags = [word for inside, outside in mapped.items() for word in ("-p", f"127.0.0.1:{outside}:{inside}")]
    flags += [word for key, value in environment.items() for word in ("-e", f"{key}={value}")]
    memory, mounted = in_memory(name, data) if data else (None, ())
    created = ("run", "-d", "--name", name, "--hostname", name, "--label", LABEL, *flags, *mounted, *words, image)
    made = Server(name, mapped, ready, created, memory)
    try:
        made.create()
        yield made
    finally:
        made.remove()


def rabbitmq_server(*words: str, on_disk: bool = False) -> contextlib.AbstractContextManager[Server]:
    """RabbitMQ with user and password `leveret`: ports 5672, 15672 (management) and 15692 (metrics); 5671 is for TLS, see `tls`."""
    environment = {"RABBITMQ_DEFAULT_USER": "leveret", "RABBITMQ_DEFAULT_PASS": "leveret"}
    data = None if on_disk else RABBITMQ_DATA
    return server(
        "rabbitmq:4.3-management", (5671, 5672, 15672, 15692), environment, _rabbitmq_ready, *words, data=data
    )


def postgres_server(*, on_disk: bool = False) -> contextlib.AbstractContextManager[Server]:
    """PostgreSQL with user, password and database `leveret`: port 5432."""
    environment = {"POSTGRES_USER": "leveret", "POSTGRES_PASSWORD": "leveret", "POSTGRES_DB": "leveret"}
    data = None if on_disk else POSTGRES_DATA
    return server("postgres:17-trixie", (5432,), environment, _postgres_ready, data=data)


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
    """Tell whether it makes a quorum queue that dead-letters at least once, as a delay level does.

    The supervisor of those queues' workers may end when many of them crash at once, as they do where somebody deletes their
    queues; then it makes no such queue any more, and all others.
    """
    queue = "queues/%2F/well"
    (level,) = (one for one in topology.shared().queues if one.name == topology.delay_exchange(0))
    arguments = {**level.arguments, "x-dead-letter-exchange": "amq.fanout"}  # one that is there
    try:
        management(rabbitmq, queue, "PUT", {"durable": True, "arguments": arguments})
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
