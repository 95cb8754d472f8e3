"""One application per library, written as its own pages advise, and how jobs for it are published, with confirms.

The job is the same for each, `{"n": …, "sleep": …, "pad": …}`: wait if that is asked for, and note the run.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.peers.ledger import Ledger

Job = dict[str, Any]
URL, LEDGER = os.environ["PEERS_URL"], Ledger(Path(os.environ["PEERS_LEDGER"]))
THREADS, AT_ONCE = 32, 400  # that publish: each waits for its confirm


def run(job: Job) -> None:
    if job["sleep"]:
        time.sleep(job["sleep"])
    LEDGER.ran(job["n"])


async def run_async(job: Job) -> None:
    if job["sleep"]:
        await asyncio.sleep(job["sleep"])
    LEDGER.ran(job["n"])


async def in_threads(send: Callable[[Job], object], jobs: list[Job]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(send, jobs))


async def at_once(send: Callable[[Job], Awaitable[object]], jobs: list[Job]) -> None:
    for at in range(0, len(jobs), AT_ONCE):
        await asyncio.gather(*(send(job) for job in jobs[at : at + AT_ONCE]))
