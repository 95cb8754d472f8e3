"""What a consumer says of itself while it imports its handlers, and how it ends if that takes too long."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from containers import free_port

SLOW = """
import os, sys, time
from leveret import Handlers
handlers = Handlers()
while not os.path.exists(os.environ["GO_ON"]):
    time.sleep(0.01)
@handlers.job("t")
async def t(ctx, job): ...
"""
PROGRAM = """
import runpy
from pathlib import Path
from leveret_consumer import last_words

last_words.PLACE = Path({place!r})
runpy.run_module("leveret_consumer", run_name="__main__")
"""


class Starting:
    def __init__(self, folder: Path, **variables: str) -> None:
        (folder / "slow_jobs.py").write_text(SLOW)
        self.go_on, self.last_words, self.log = folder / "go-on", folder / "termination-log", folder / "log"
        self.last_words.touch()
        self.port = free_port()
        own = {
            "LEVERET_QUEUE": "leveret.q",
            "LEVERET_HANDLERS": "slow_jobs:handlers",
            "LEVERET_BROKER_URL": "amqp://leveret:leveret@127.0.0.1:1/",
            "LEVERET_PROBE_PORT": str(self.port),
            "GO_ON": str(self.go_on),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))),
        }
        program = PROGRAM.format(place=str(self.last_words))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program], env=os.environ | own | variables, stderr=log
            )

    def get(self, path: str) -> tuple[int, str, datetime | None]:
        """Return the status, the sentence and since when it holds."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                status, said = answer.status, json.load(answer)
        except urllib.error.HTTPError as problem:
            with problem:
                status, said = problem.code, json.load(problem)
        except OSError as problem:
            return 0, str(problem), None
        return status, said["says"], datetime.fromisoformat(said["since"]) if "since" in said else None

    def until(self, path: str, seen: Callable[[int, str], bool]) -> tuple[int, str, datetime | None]:
        end = time.monotonic() + 60
        while not seen(*(found := self.get(path))[:2]):
            assert time.monotonic() < end, (found, self.log.read_text())
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        return found

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Callable[..., Starting]]:
    started: list[Starting] = []

    def start(**variables: str) -> Starting:
        started.append(Starting(tmp_path, **variables))
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.process.kill()
        one.process.wait()


def test_a_consumer_that_imports_is_alive_and_says_what_it_does_and_since_when(
    starting: Callable[..., Starting],
) -> None:
    one = starting()
    status, _, since = one.until("/readyz", lambda _, says: says == "starting: importing slow_jobs")
    assert status == 503
    assert since is not None
    assert timedelta(0) <= datetime.now(UTC) - since < timedelta(seconds=60)
    status, says, _ = one.get("/healthz")
    assert (status, says.endswith("it may take 120 s")) == (200, True)
    with urllib.request.urlopen(f"http://127.0.0.1:{one.port}/metrics", timeout=30) as answer:
        assert 'leveret_consumer_slots{queue="leveret.q",state="idle"} 10.0' in answer.read().decode()
    one.go_on.touch()
    one.until("/readyz", lambda _, says: says.startswith("not connected to the broker"))
    one.until("/healthz", lambda status, says: status == 200 and says.startswith("the loop turned"))
    assert one.stop() == 0
    assert one.last_words.read_text() == ""


def test_a_start_that_takes_too_long_is_not_alive_and_its_last_words_say_so(starting: Callable[..., Starting]) -> None:
    one = starting(LEVERET_STARTUP_TIMEOUT="1s")
    one.until("/readyz", lambda _, says: says == "starting: importing slow_jobs")
    one.until("/healthz", lambda status, says: status == 503 and says.startswith("starting for "))
    assert one.stop() == 0
    assert one.last_words.read_text().startswith("importing slow_jobs took longer than 1s: ")


def test_a_stop_while_it_imports_has_no_last_words(starting: Callable[..., Starting]) -> None:
    one = starting()
    one.until("/readyz", lambda _, says: says == "starting: importing slow_jobs")
    assert one.stop() == 0
    assert one.last_words.read_text() == ""


LOADED = "import leveret_consumer.__main__, sys; print(*(name for name in {names!r} if name in sys.modules))"
LATER = ("rich", "prometheus_client", "http.server", "multiprocessing", "uvloop")


def test_what_is_needed_later_is_imported_later() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(names=LATER)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_rich_can_be_imported_by_handlers_all_the_same() -> None:
    program = "import leveret_consumer.__main__, rich.console; print(rich.console.Console)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "rich.console.Console" in done.stdout
