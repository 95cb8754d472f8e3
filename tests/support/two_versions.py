"""Producers and consumers of an older Leveret and of today's, as processes on one broker and one database.

The older one is the wheel in `tests/upgrade`. It is unpacked and comes before everything else on the path of its processes,
so that they run with today's dependencies.
"""

import contextlib
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from containers import free_port
from producers import TOKEN, database_url, eventually_true

import leveret
import leveret_consumer
import leveret_producer
from leveret.settings import Broker, Database

WHEELS = Path(__file__).resolve().parents[1] / "upgrade"
PACKAGES = (leveret, leveret_producer, leveret_consumer)
MUST_STAY_ZERO = ("leveret_producer_failures_total", "leveret_events_set_aside_total")


@dataclass(frozen=True, slots=True)
class Version:
    name: str
    paths: tuple[Path, ...]  # where its packages are

    def environment(self, *more: Path) -> dict[str, str]:
        path = os.pathsep.join(str(one) for one in (*self.paths, *more))
        return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}  # else the working directory comes first

    def found(self) -> set[Path]:
        """Return where a process of this version finds the packages."""
        names = [one.__name__ for one in PACKAGES]
        code = f"from importlib.util import find_spec\nfor name in {names}: print(find_spec(name).origin)"
        told = subprocess.run(
            [sys.executable, "-c", code], env=self.environment(), capture_output=True, text=True, check=True
        )
        return {Path(line).parents[1] for line in told.stdout.splitlines()}


def today() -> Version:
    return Version("today", tuple(Path(str(one.__file__)).parents[1] for one in PACKAGES))


def older(folder: Path) -> Version:
    """Unpack the wheel; there is one."""
    (wheel,) = WHEELS.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return Version("older", (folder,))


@dataclass(frozen=True, slots=True)
class Process:
    process: subprocess.Popen[bytes]
    log: Path

    def runs(self) -> bool:
        return self.process.poll() is None


@dataclass(frozen=True, slots=True)
class Door:
    """A producer process, and a client of it."""

    version: str
    program: Process
    http: httpx.AsyncClient
    metrics_port: int

    async def ready(self, queue: str) -> None:
        """Wait until it takes jobs for a queue."""

        async def serves() -> bool:
            assert self.program.runs(), self.program.log.read_text()
            with contextlib.suppress(httpx.TransportError):
                return (await self.http.get(f"/v1/queues/{queue}")).status_code == 200
            return False

        await eventually_true(serves, f"the {self.version} producer serves {queue}")

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def submit(self, queue: str, *jobs: dict[str, Any]) -> list[str]:
        answer = await self.http.post(f"/v1/queues/{queue}/jobs", json=list(jobs))
        assert answer.status_code == 202, answer.text
        return [job["id"] for job in answer.json()["jobs"]]

    async def failures(self) -> dict[str, float]:
        """Return what must not happen and did, with how often."""
        text = (await self.http.get(f"http://127.0.0.1:{self.metrics_port}/metrics")).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(MUST_STAY_ZERO)]
        assert "leveret_events_set_aside_total" in dict(lines)
        return {name: float(value) for name, value in lines if float(value)}


@dataclass(frozen=True, slots=True)
class Stage:
    """Starts processes; what still runs at the end is killed."""

    broker: Broker
    database: Database
    folder: Path
    open: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def producer(self, version: Version) -> Door:
        port, metrics_port = free_port(), free_port()
        ports = {"LEVERET_LISTEN_PORT": str(port), "LEVERET_METRICS_PORT": str(metrics_port)}
        given = {"LEVERET_DATABASE_URL": database_url(self.database), "LEVERET_TOKEN": TOKEN}
        program = self._start("leveret_producer", version.name, version.environment(), given | ports)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        limits = httpx.Limits(keepalive_expiry=2)  # the older version closes what stands idle for 5 s
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30, limits=limits)
        return Door(version.name, program, await self.open.enter_async_context(client), metrics_port)

    def consumer(self, version: Version, queue: str, handlers: Path) -> Process:
        given = {
            "LEVERET_QUEUE": queue,
            "LEVERET_HANDLERS": f"{handlers.stem}:handlers",
            "LEVERET_PROBE_PORT": "0",
            "LEVERET_VERSION": "v1",
        }
        return self._start("leveret_consumer", version.name, version.environment(handlers.parent), given)

    def _start(self, module: str, name: str, environment: dict[str, str], given: dict[str, str]) -> Process:
        log = self.folder / f"{module}-{name}.log"
        ours = {"LEVERET_BROKER_URL": self.broker.url(), "LEVERET_LOG": "json", "LEVERET_POD": name}
        with log.open("wb") as file:
            process = subprocess.Popen([sys.executable, "-m", module], env=environment | ours | given, stderr=file)
        self.open.callback(process.wait)
        self.open.callback(process.kill)
        return Process(process, log)
