"""The tutorial's commands, as they stand on its page, and what it says that they print."""

import os
import subprocess
import sys
from pathlib import Path

from api import Api
from kube import FETCHED, ROOT, Namespace
from pages import DOCS, blocks

PAGE = DOCS / "tutorial" / "first-job.md"


def test_the_tutorial_works_as_it_is_written(namespace: Namespace, api: Api, tmp_path: Path) -> None:
    script = "set -euo pipefail\n" + "\n".join(block.text for block in blocks(PAGE, "bash"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")} | {
        "CLUSTER": namespace.context.removeprefix("kind-"),
        "NAMESPACE": namespace.name,
        "LEVERET_URL": api.url,
        "MY_JOBS": str(tmp_path / "my-jobs"),
        "PATH": f"{FETCHED}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
    }
    try:
        done = subprocess.run(
            ["bash", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
    finally:
        namespace.kubectl("delete", "jobqueue", "my-jobs", "--ignore-not-found")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    said = done.stdout
    for line in (line for block in blocks(PAGE, "text") for line in block.text.splitlines()):
        assert line in said, f"{line!r} is not in, or not in this order:\n{done.stdout}\n{done.stderr}"
        said = said[said.index(line) + len(line) :]
