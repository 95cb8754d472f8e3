"""A consumer that is process 1 of its container: whoever loses his parent is waited for, and no exit code is taken away."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runs import until

UNSHARE = ("unshare", "--pid", "--fork", "--kill-child")


def children(process: int) -> list[int]:
    return [
        int(child)
        for thread in Path(f"/proc/{process}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]


def zombies(process: int) -> int:
    """How many there are below it."""
    found = 0
    for child in children(process):
        found += Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        found += zombies(child)
    return found


async def test_orphans_leave_no_zombies_and_no_exit_code_is_lost(rig: Any, consumer: Callable[..., Any]) -> None:
    """They stayed for ever, until there was no thread or process to be had and every job failed."""
    one = consumer(under=UNSHARE, handlers="family_jobs:handlers", timeout="10m", concurrency=3)
    await one.ready()
    (first,) = children(one.process.pid)
    jobs = [await rig.submit(f"orphans of {whom}", 200) for whom in ("a thread", "a process", "the loop")]
    for end in await rig.final(*jobs, seconds=90):
        assert bytes(end.result or b"") == b"[]", "exit codes that were not those of the programs"
    await until("only the consumer is left, and no zombie", lambda: len(children(first)) == 1 and not zombies(first))
    os.kill(first, signal.SIGTERM)
    assert await one.ended() == 0
    assert "drained" in one.log.read_text(), "the signal was handed on"


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, 137), (signal.SIGSEGV, 139)], ids=["killed", "crashed"])
async def test_the_container_ends_as_its_consumer_does(
    rig: Any, consumer: Callable[..., Any], how: signal.Signals, code: int
) -> None:
    one = consumer(under=UNSHARE)
    await one.ready()
    (first,) = children(one.process.pid)
    (itself,) = (child for child in children(first))
    os.kill(itself, how)
    assert await one.ended() == code
