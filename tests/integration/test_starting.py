"""A process that is asked to stop while it starts ends, also as process 1 of its container.

There a signal is lost for which there is no handler. What remains is the start of the interpreter itself.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from containers import free_port, wait_until

VARIABLES = {
    "LEVERET_BROKER_URL": "amqp://nobody:nothing@127.0.0.1:1/",
    "LEVERET_DATABASE_URL": "postgresql://nobody:nothing@127.0.0.1:1/nothing",
    "LEVERET_TOKEN": "t",
    "LEVERET_NAMESPACE": "none",
    "LEVERET_QUEUE": "leveret.none",
    "LEVERET_HANDLERS": "examples.bench.handlers:handlers",
}


def first_process_of(unshare: subprocess.Popen[bytes]) -> int | None:
    """The process that has number 1 in its own namespace, by its number in ours."""
    children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split()
    return int(children[0]) if children else None


def hears(process: int) -> bool:
    """Whether it has a handler for SIGTERM."""
    status = Path(f"/proc/{process}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("after", [0, 0.3])
@pytest.mark.parametrize("module", ["leveret_consumer", "leveret_producer", "leveret_operator"])
def test_a_stop_while_python_imports_is_heard(module: str, after: float, tmp_path: Path) -> None:
    ports = {f"LEVERET_{name}_PORT": str(free_port()) for name in ("PROBE", "METRICS", "LISTEN")}
    log = tmp_path / "log"
    with log.open("wb") as file:
        unshare = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", module],
            env=os.environ | VARIABLES | ports,
            stdout=file,
            stderr=file,
        )
    try:
        wait_until("it begins", lambda: first_process_of(unshare) is not None, 60)
        process = first_process_of(unshare)
        assert process is not None
        wait_until("it has a handler", lambda: hears(process), 60)
        time.sleep(after)
        os.kill(process, signal.SIGTERM)
        assert unshare.wait(60) == 0, log.read_text()
    except subprocess.TimeoutExpired:
        pytest.fail(f"it goes on: {log.read_text()}")
    finally:
        unshare.kill()
        unshare.wait()
