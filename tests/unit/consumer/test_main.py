"""`python -m leveret_consumer` with wrong settings: exit code 1, and one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leveret_consumer.last_words import leave

GOOD = (
    "from leveret import Handlers\nhandlers = Handlers()\n@handlers.job('t', timeout=60)\nasync def t(ctx, job): ...\n"
)
BROKER = "amqp://leveret:leveret@127.0.0.1:1/"


def run(folder: Path, *, program: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    (folder / "good.py").write_text(GOOD)
    (folder / "broken.py").write_text("import leveret\n1 / 0\n")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LEVERET_")}
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    given = {f"LEVERET_{name.upper()}": value for name, value in variables.items()}
    return subprocess.run(
        [sys.executable, *(["-m", "leveret_consumer"] if program is None else ["-c", program])],
        env=clean | {"PYTHONPATH": path, "LEVERET_QUEUE": "leveret.q", "LEVERET_PROBE_PORT": "0"} | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


WRONG = [
    pytest.param({"handlers": "nowhere:handlers"}, "there is no nowhere on the Python path", id="module"),
    pytest.param({"handlers": "good:handlers"}, "above the JobQueue's 30s", id="timeout"),
    pytest.param({"handlers": "broken:handlers"}, "broken.py line 2 with ZeroDivisionError", id="their own error"),
    pytest.param({"handlers": "good:handlers", "timeout": "60s"}, "LEVERET_BROKER_URL is not set", id="no broker"),
    pytest.param(
        {"handlers": "good:handlers", "timeout": "60s", "broker_url": "amqp://u:hush@h:hush/"},
        "LEVERET_BROKER_URL can't be used",
        id="a broker's port",
    ),
]


@pytest.mark.parametrize(("variables", "says"), WRONG)
def test_a_wrong_setting_ends_the_process_with_one_sentence(
    variables: dict[str, str], says: str, tmp_path: Path
) -> None:
    done = run(tmp_path, **variables)
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr


SAID = """
import runpy
from pathlib import Path
from leveret_consumer import last_words

last_words.PLACE = Path({place!r})
runpy.run_module("leveret_consumer", run_name="__main__")
"""


@pytest.mark.parametrize(("variables", "says"), WRONG)
def test_the_sentence_is_the_pods_termination_message(variables: dict[str, str], says: str, tmp_path: Path) -> None:
    place = tmp_path / "termination-log"
    place.write_text("of an earlier run, and longer than what comes now " * 30)
    done = run(tmp_path, program=SAID.format(place=str(place)), **variables)
    assert done.returncode == 1
    assert says in place.read_text()
    assert place.read_text() in done.stderr
    assert "hush" not in place.read_text()


def test_last_words_are_bounded_and_nothing_is_made_for_them(tmp_path: Path) -> None:
    place = tmp_path / "termination-log"
    leave("nobody reads it", place)
    assert not place.exists()
    place.touch()
    leave("ä" * 5_000 + "\udc80", place)
    assert place.read_text() == "ä" * 1_000
    leave("a surrogate \udc80", place)
    assert place.read_text() == "a surrogate ?"
    leave("no file", tmp_path)


def test_in_a_cluster_the_users_own_traceback_is_a_field_of_the_log(tmp_path: Path) -> None:
    done = run(tmp_path, handlers="broken:handlers", log="json")
    (line,) = done.stderr.splitlines()
    assert "ZeroDivisionError" in json.loads(line)["exception"]


LEFT_BEHIND = """
import asyncio, atexit, runpy, time
from leveret_consumer import consumer

async def serve(*_):
    asyncio.create_task(asyncio.to_thread(time.sleep, 600))
    await asyncio.sleep(0.1)
    if {raises}:
        raise KeyError("a defect")
    return 3

consumer.serve = serve
atexit.register(print, "last words")
runpy.run_module("leveret_consumer", run_name="__main__")
"""


@pytest.mark.parametrize(("raises", "code"), [(False, 3), (True, 1)])
def test_a_thread_that_a_handler_left_behind_is_not_waited_for(raises: bool, code: int, tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    own = {
        "LEVERET_QUEUE": "leveret.q",
        "LEVERET_HANDLERS": "good:handlers",
        "LEVERET_TIMEOUT": "60s",
        "LEVERET_BROKER_URL": BROKER,
        "LEVERET_PROBE_PORT": "0",
        "PYTHONPATH": os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))),
    }
    done = subprocess.run(
        [sys.executable, "-c", LEFT_BEHIND.format(raises=raises)],
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (code, "last words\n")
    assert ("a defect" in done.stderr) is raises
