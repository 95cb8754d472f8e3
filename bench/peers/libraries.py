"""What is compared, on which loads, and with which command each library's worker is started."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from bench.peers import QUEUE, SLOTS
from bench.versions import ROOT, TODAY

PEERS = ROOT / "build" / "peers" / "venv" / "bin" / "python"
APPS = "bench.peers.adapters"


@dataclass(frozen=True, slots=True)
class Load:
    name: str
    sleep: float = 0.0  # s
    size: int = 0  # bytes


NOOP = Load("no-op")
LOADS = (NOOP, Load("10 ms sleep", sleep=0.01), Load("10 kB payload", size=10_000))


@dataclass(frozen=True, slots=True)
class Library:
    name: str
    adapter: str
    worker: str  # words for `python -m`
    python: Path = PEERS
    slots: int = SLOTS
    loads: tuple[Load, ...] = LOADS

    @property
    def ours(self) -> bool:
        return self.adapter == "with_leveret"

    def environment(self, url: str, ledger: Path) -> dict[str, str]:
        """Tell an adapter what it needs, and Leveret's consumer what the operator tells it."""
        adapter = {"PEERS_URL": url, "PEERS_LEDGER": str(ledger)}
        consumer = {
            "LEVERET_BROKER_URL": url,
            "LEVERET_QUEUE": QUEUE,
            "LEVERET_CONCURRENCY": str(self.slots),
            "LEVERET_HANDLERS": f"{APPS}.with_leveret:handlers",
            "LEVERET_PROBE_PORT": "0",
            "LEVERET_POD": "bench",
            "LEVERET_LOG": "json",
        }
        return TODAY.environment() | adapter | (consumer if self.ours else {})


# Each logs warnings only; what Celery's workers say to each other is left out, for there is one.
_CELERY = "-P threads -c 100 -l WARNING --without-gossip --without-mingle --without-heartbeat"
_TASKIQ = "--workers 1 --max-async-tasks 100 --max-prefetch 100 --ack-type when_executed --log-level WARNING"
OURS = Library("Leveret", "with_leveret", "leveret_consumer", Path(sys.executable))
FEW_SLOTS = replace(OURS, name="Leveret, 10 slots", slots=10, loads=(NOOP,))
LIBRARIES = (
    OURS,
    Library("Celery", "with_celery", f"celery -A {APPS}.with_celery worker {_CELERY}"),
    Library("Dramatiq", "with_dramatiq", f"dramatiq {APPS}.with_dramatiq --processes 1 --threads 100"),
    Library("taskiq", "with_taskiq", f"taskiq worker {APPS}.with_taskiq:broker {_TASKIQ}"),
    Library("FastStream", "with_faststream", f"{APPS}.with_faststream"),
    FEW_SLOTS,
)
