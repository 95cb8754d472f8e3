"""The kit as a user runs it: a wrong call is a sentence, never a traceback."""

import subprocess
import sys

import pytest

from clusterkit.cache import HERE


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        pytest.param(["--help"], 0, "usage: kit.py", id="help"),
        pytest.param([], 2, "VERB", id="no-verb"),
        pytest.param(["fly"], 2, "invalid choice", id="unknown-verb"),
        pytest.param(["images", "no-such"], 1, "kit.py: no base image is called no-such", id="unknown-image"),
        pytest.param(["up", "--config", "no-such.yaml"], 1, "kit.py: there is no file no-such.yaml", id="no-config"),
    ],
)
def test_answers(words: list[str], code: int, said: str) -> None:
    done = subprocess.run([sys.executable, HERE / "kit.py", *words], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
