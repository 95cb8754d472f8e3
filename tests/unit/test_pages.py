"""The Python on the pages about testing and cancelling handlers is run as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"


def passes(page: str, folder: Path, more_cases: int = 0) -> None:
    """`jobs.py` is the block that begins with its name; all that follow are its tests."""
    blocks = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
    first = next(number for number, block in enumerate(blocks) if block.startswith("# jobs.py"))
    (folder / "jobs.py").write_text(blocks[first])
    tests = folder / "test_jobs.py"
    tests.write_text("\n\n".join(blocks[first + 1 :]))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    cases = len(re.findall(r"(?m)^def test_", tests.read_text())) + more_cases
    assert f"{cases} passed" in done.stdout


def test_the_page_about_testing_handlers_tells_what_is_so(tmp_path: Path) -> None:
    passes("testing-handlers.md", tmp_path, more_cases=2)  # two tests have two cases each


def test_the_page_about_cancelling_does(tmp_path: Path) -> None:
    passes("cancel.md", tmp_path)
