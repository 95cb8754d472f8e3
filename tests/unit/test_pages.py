"""The Python on the page about testing handlers is run as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "testing-handlers.md"


def test_the_page_about_testing_handlers_tells_what_is_so(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "jobs.py").write_text(blocks[0])
    tests = tmp_path / "test_jobs.py"
    tests.write_text("\n\n".join(blocks[1:]))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    cases = len(re.findall(r"(?m)^def test_", tests.read_text())) + 2  # two tests have two cases each
    assert f"{cases} passed" in done.stdout
