"""What is kept between runs: a folder of the user's cache, keys of contents, and one run at a time."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .console import say

HERE = Path(__file__).resolve().parent.parent  # the folder of kit.py
REPOSITORY = HERE.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leveret-cluster"


def log_file(name: str) -> Path:
    """Give the path of a long step's log; its folder is there."""
    path = CACHE / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def work_dir() -> Iterator[Path]:
    """Lend a folder for one build, in the cache (the same file system), removed after."""
    (CACHE / "work").mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=CACHE / "work"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Let one kit at a time use the cache; others wait and say so."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run that uses {CACHE}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def key(*parts: str | Path) -> str:
    """Hash strings, and files and folders by names and contents, to 12 characters."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode() + b"\0")
            continue
        for path in sorted(path for path in [part, *part.rglob("*")] if path.is_file()):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
