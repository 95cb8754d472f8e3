"""Processes, Leveret's own as they run in a pod and others beside them, and surely ended.

Each is started with an environment that says all it needs, writes its log to a file, and is ended by
its process id when the context ends, whatever happened in it.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from bench.versions import TODAY, Version

ENDS_WITHIN = 15.0  # s after SIGTERM, then SIGKILL
LOOKS_EVERY = 0.02  # s
LAST_LINES = 5


class Failed(Exception):
    """A measure can't be made; the message says why."""


class Process:
    def __init__(self, name: str, child: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
        self._name, self._child, self._log = name, child, log

    @property
    def pid(self) -> int:
        return self._child.pid

    async def until(self, what: str, probe: Callable[[], Awaitable[bool]], seconds: float = 60) -> float:
        """Wait until a probe is true; return the time of that, of the performance counter. Raise Failed."""
        end = time.monotonic() + seconds
        while not await probe():
            if self._child.poll() is not None:
                raise self._ended()
            if time.monotonic() > end:
                raise Failed(f"{self._name}: not within {seconds:.0f} s: {what}; its last words:\n{self._tail()}")
            await asyncio.sleep(LOOKS_EVERY)
        return time.perf_counter()

    async def succeeded(self, seconds: float) -> None:
        """Wait until it has ended well; raise Failed."""
        try:
            if await asyncio.to_thread(self._child.wait, seconds):
                raise self._ended()
        except subprocess.TimeoutExpired:
            raise Failed(f"{self._name}: not done within {seconds:.0f} s; its last words:\n{self._tail()}") from None

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used so far; raise Failed if it has ended."""
        if self._child.poll() is not None:
            raise self._ended()
        return time.clock_gettime(~self._child.pid << 3 | 2)  # a process's clock on Linux: clock_getcpuclockid(3)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it and its children do nothing meanwhile: seconds, or its broker hangs up."""
        os.killpg(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.pid, signal.SIGCONT)

    def _ended(self) -> Failed:
        return Failed(f"{self._name} ended with exit code {self._child.returncode}:\n{self._tail()}")

    def _tail(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-LAST_LINES:]) or "nothing"

    async def end(self) -> None:
        """Ask it to stop; end it if it doesn't."""
        self._child.terminate()
        try:
            await asyncio.to_thread(self._child.wait, ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self._child.kill()
            await asyncio.to_thread(self._child.wait)


def running(
    module: str, settings: Mapping[str, str], version: Version = TODAY
) -> contextlib.AbstractAsyncContextManager[Process]:
    """Run `python -m module` of a version for as long as the context lasts."""
    # Python finds modules in the folder that it is started in, too.
    return launched(module, [sys.executable, "-m", module], version.environment() | dict(settings), version.root)


@contextlib.asynccontextmanager
async def launched(
    name: str, command: Sequence[str], settings: Mapping[str, str], folder: Path
) -> AsyncIterator[Process]:
    """Run a command in a folder, in a process group of its own, for as long as the context lasts."""
    with tempfile.TemporaryFile() as log:
        child = _start(command, settings, folder, log)
        try:
            process = Process(name, child, log)
            yield process
            await process.end()
        finally:
            with contextlib.suppress(ProcessLookupError):  # interrupted, maybe within end(), or children are left
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _start(
    command: Sequence[str], settings: Mapping[str, str], folder: Path, log: IO[bytes]
) -> "subprocess.Popen[bytes]":
    outside = {name: value for name, value in os.environ.items() if not name.startswith("LEVERET_")}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=outside | dict(settings),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        process_group=0,
    )
