"""The starter is small, of this version, and its own tests pass where it is copied to."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
STARTER = ROOT / "examples" / "starter"


def test_its_own_tests_pass_in_a_copy(tmp_path: Path) -> None:
    copy = shutil.copytree(STARTER, tmp_path / "my-jobs", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        ["make", "test", f"PYTHON={sys.executable}"],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_it_is_small_and_of_this_version() -> None:
    lines = [line for path in STARTER.iterdir() if path.is_file() for line in path.read_text().splitlines()]
    assert len(lines) <= 120
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"FROM leveret/consumer:{version}" in lines
    page = (ROOT / "docs" / "how-to" / "your-own-image.md").read_text()
    assert set(re.findall(r"leveret/consumer:([\d.]+)|leveret-([\d.]+)-py3", page)) == {(version, ""), ("", version)}
    assert (STARTER / "Dockerfile").read_text() in page
    jobqueue = (STARTER / "jobqueue.yaml").read_text()
    assert "handlers: jobs:handlers" in jobqueue
