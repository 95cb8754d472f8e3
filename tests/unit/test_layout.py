"""What the layout of the repository must never become: packages that shadow the standard library, locks with addresses."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_import_operator_is_the_standard_library() -> None:
    """From the repository's root, where a folder of the same name lies first on the path."""
    script = "import operator; print(operator.__file__); operator.itemgetter"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == Path(sys.base_prefix, "lib", *Path(done.stdout.strip()).parts[-2:])
    assert ROOT not in Path(done.stdout.strip()).parents


@pytest.mark.parametrize("folder", ["operator", "producer", "consumer"])
def test_no_package_directly_in_a_service_folder(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_no_package_under_tests() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_locks_hold_versions_and_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert not re.search(r"(?m)^\s*-(i|f|-index-url|-extra-index-url|-find-links|-trusted-host)\b", text)
    pins = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert pins
    assert [pin for pin in pins if not re.match(r"[a-z0-9._-]+(\[[a-z0-9,_-]+\])?==\S+( ;.*)? \\$", pin)] == []
