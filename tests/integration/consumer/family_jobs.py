"""Handlers that start processes. Each of those leaves its number in the payload's folder, and goes on for ever."""

import asyncio
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from leveret import Context, Handlers, Retry

handlers = Handlers()
once = Retry(max_attempts=1)
LONG = 600  # s

NOTE = "import os, pathlib, sys; pathlib.Path(sys.argv[1], str(os.getpid())).touch()"
DEAF = f"{NOTE}; import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep({LONG})"
STOPPED = f"{NOTE}; import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"


class Job(BaseModel):
    folder: Path
    starts: str = "nobody"
    then: str = "waits"


def note(folder: Path) -> None:
    (folder / str(os.getpid())).touch()


def stay(folder: Path) -> None:
    note(folder)
    time.sleep(LONG)


def python(text: str, folder: Path) -> None:
    subprocess.Popen([sys.executable, "-c", text, str(folder)])


def shell(text: str, folder: Path) -> subprocess.Popen[bytes]:
    """In `text` $me leaves the number of a shell."""
    me = "touch \"$0/$(sh -c 'echo $PPID')\""
    return subprocess.Popen(["sh", "-c", text.replace("$me", me), str(folder)])


def parallel(method: str, folder: Path) -> None:
    context: Any = multiprocessing.get_context(method)
    context.Process(target=stay, args=(folder,)).start()


def fork(folder: Path, generations: int = 1) -> None:
    if os.fork() == 0:
        if generations > 1:
            fork(folder, generations - 1)
        stay(folder)
        os._exit(0)


def start(ctx: Context, what: str, folder: Path) -> int:
    """Return how many it has started."""
    match what:
        case "a program":
            python(f"{NOTE}; import time; time.sleep({LONG})", folder)
        case "one that ignores SIGTERM":
            python(DEAF, folder)
        case "one that is stopped":
            python(STOPPED, folder)
        case "a pipeline":
            shell(f"($me; sleep {LONG}) | ($me; cat)", folder)
            return 2
        case "an orphan in the background":
            shell(f"($me; sleep {LONG}) & exit", folder).wait()
        case "a fork that holds our pipes":
            fork(folder)
        case "a fork of a fork":
            fork(folder, 3)
            return 3
        case "a fork that goes the handler's way":
            if os.fork() == 0:
                note(folder)
                ctx.progress(1, 2)  # of a job that isn't its
                os.kill(os.getpid(), signal.SIGSTOP)
        case "multiprocessing by fork" | "multiprocessing by spawn" | "multiprocessing by forkserver":
            parallel(what.rpartition(" ")[2], folder)
    return 0 if what == "nobody" else 1


@handlers.job("family", cpu=True, timeout=LONG, retry=once)
def family(ctx: Context, job: Job) -> str:
    number = start(ctx, job.starts, job.folder)
    note(job.folder)
    while len(list(job.folder.iterdir())) <= number:
        time.sleep(0.02)
    (job.folder / "all").touch()
    match job.then:
        case "waits":
            time.sleep(LONG)
        case "computes without a pause":
            while True:
                ctypes.pythonapi.Py_GetVersion()  # never lets go of Python's lock for long
        case "is stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "exits with 0":
            os._exit(0)
        case "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "closes all files":
            os.closerange(3, 1_000)
            time.sleep(LONG)
    return "done"


@handlers.job("short family", cpu=True, timeout=3, retry=once)
def short_family(ctx: Context, job: Job) -> str:
    return family(ctx, job)


@handlers.job("fork and return", cpu=True, retry=once)
def fork_and_return(ctx: Context, job: str) -> str:
    return job if os.fork() else f"the copy's {job}"


def orphans(number: int) -> list[int]:
    """Start shells that leave a process behind; return the exit codes that were not theirs."""
    started = [subprocess.Popen(["sh", "-c", f"sleep 0.5 & exit {n % 256}"]) for n in range(number)]
    return [code for n, one in enumerate(started) if (code := one.wait()) != n % 256]


@handlers.job("orphans of a thread", retry=once)
def orphans_of_a_thread(ctx: Context, job: int) -> list[int]:
    return orphans(job)


@handlers.job("orphans of a process", cpu=True, retry=once)
def orphans_of_a_process(ctx: Context, job: int) -> list[int]:
    return orphans(job)


@handlers.job("orphans of the loop", retry=once)
async def orphans_of_the_loop(ctx: Context, job: int) -> list[int]:
    async def one(n: int) -> int:
        return await (await asyncio.create_subprocess_shell(f"sleep 0.5 & exit {n % 256}")).wait()

    return [code for n in range(job) if (code := await one(n)) != n % 256]
