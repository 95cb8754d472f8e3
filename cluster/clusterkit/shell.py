"""Running other programs: long steps with a log and a sign of life, short ones for their output."""

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from .cache import log_file
from .console import Fail, say

Word = str | Path


def tail(path: Path, lines: int) -> str:
    """Quote the end of a log, each line on a line of its own."""
    return "".join(f"\n  {line}" for line in path.read_text(errors="replace").splitlines()[-lines:])


def run(
    step: str,
    argv: Sequence[Word],
    *,
    log: str,
    quiet: bool = False,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: IO[bytes] | None = None,
) -> None:
    """Run one long command with its output in a log, and a line every 30 s; raises Fail."""
    path = log_file(log)
    if not quiet:
        say(step)
    began = time.monotonic()
    with path.open("ab") as out:
        try:
            process = subprocess.Popen(
                [str(word) for word in argv], stdout=out, stderr=out, cwd=cwd, env=env, stdin=stdin
            )
        except OSError as problem:
            raise Fail(f"{step}: {argv[0]} cannot be started: {problem.strerror}") from problem
        try:
            code = _wait(process, lambda: say(f"  … {step}: {time.monotonic() - began:.0f} s so far"))
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)  # what is tidied up now must not be made again behind our back
            raise
    if code:
        raise Fail(f"{step}: failed (exit {code}). The end of {path}:{tail(path, 25)}")


def _wait(process: "subprocess.Popen[bytes]", sign_of_life: Callable[[], None]) -> int:
    while True:
        try:
            return process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            sign_of_life()


def output(*argv: Word, check: bool = True, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Give a short command's standard output, stripped; '' where it fails unchecked; raises Fail."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, text=True, capture_output=True, check=False, cwd=cwd, env=env)
    except OSError as problem:
        if check:
            raise Fail(f"{words[0]} cannot be started: {problem.strerror}") from problem
        return ""
    if done.returncode and check:
        raise Fail(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return "" if done.returncode else done.stdout.strip()


def works(*argv: Word, timeout: float = 60) -> bool:
    """Say whether a short command ends with success within its time-out."""
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def until(what: str, probe: Callable[[], bool], seconds: float) -> None:
    """Wait for something to come true; raises Fail once the time is over."""
    end = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > end:
            raise Fail(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.5)


def version(text: str | None) -> tuple[int, int]:
    """Find the first MAJOR.MINOR in a text; (0, 0) where there is none."""
    found = re.search(r"(\d+)\.(\d+)", text or "")
    return (int(found[1]), int(found[2])) if found else (0, 0)
