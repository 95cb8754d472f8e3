"""A steady stream of jobs, from a pod in the cluster: `python steady_load.py URL QUEUE JOBS_PER_SECOND`, until /tmp/stop is there.

It runs beside the installation, so that what it sees is what the Service and the producers say, with no proxy between.
Each list is sent until it is accepted, as the API asks for: again after a 503's Retry-After, or when there was no answer.
At the end /tmp/told.json tells what the answers were, which jobs were accepted, and what else happened and when.
"""

import asyncio
import collections
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx

TOGETHER = 4  # jobs in a list
MOST_AT_A_TIME = 64  # requests
PATIENCE = 120.0  # s for one list
AGAIN = 0.2  # s, where nothing says when


class Load:
    def __init__(self, url: str, queue: str, client: httpx.AsyncClient) -> None:
        self.url, self.client = f"{url}/v1/queues/{queue}/jobs", client
        self.answers: collections.Counter[str] = collections.Counter()
        self.troubles: list[tuple[float, str]] = []  # seconds since 1970
        self.accepted: list[list[Any]] = []  # number and id of each job
        self.unsure: list[int] = []  # numbers of jobs that were sent again because no answer came
        self.began = time.monotonic()
        self.room = asyncio.Semaphore(MOST_AT_A_TIME)

    async def submit(self, first: int) -> None:
        numbers = range(first, first + TOGETHER)
        body = [{"type": "double", "payload": {"number": number}} for number in numbers]
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            wait = await self.post(body, numbers)
            if wait is None:
                return self.room.release()
            await asyncio.sleep(wait)
        self.trouble("given up", f"{first} was not accepted within {PATIENCE:.0f} s")
        return self.room.release()

    async def post(self, body: list[dict[str, Any]], numbers: range) -> float | None:
        """Return after how many seconds to send it again; None when it is accepted."""
        try:
            answer = await self.client.post(self.url, json=body)
        except httpx.ConnectError as problem:
            return self.trouble("not connected", problem)
        except httpx.TransportError as problem:
            self.unsure.extend(numbers)
            return self.trouble("no answer", problem)
        known = answer.status_code == 503 and "retry-after" in answer.headers
        self.answers["503 with Retry-After" if known else str(answer.status_code)] += 1
        if answer.status_code == 202:
            self.accepted += [[number, job["id"]] for number, job in zip(numbers, answer.json()["jobs"], strict=True)]
            return None
        if not known:
            self.troubles.append((time.time(), f"answered {answer.status_code}: {answer.text[:300]}"))
            return AGAIN
        return float(answer.headers["retry-after"])

    def trouble(self, what: str, problem: object) -> float:
        self.answers[what] += 1
        self.troubles.append((time.time(), f"{what}: {problem!r}"))
        return AGAIN


async def main(url: str, queue: str, per_second: float) -> None:
    headers = {"authorization": f"Bearer {os.environ['TOKEN']}"}
    limits = httpx.Limits(max_connections=MOST_AT_A_TIME)
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=30) as client, asyncio.TaskGroup() as tasks:
        load, number = Load(url, queue, client), 0
        while not Path("/tmp/stop").exists():
            await load.room.acquire()
            tasks.create_task(load.submit(number))
            number += TOGETHER
            await asyncio.sleep(max(0.0, load.began + number / per_second - time.monotonic()))
    told = {
        "sent": number, "seconds": time.monotonic() - load.began, "answers": load.answers, "troubles": load.troubles,
        "accepted": load.accepted, "unsure": load.unsure,
    }  # fmt: skip
    Path("/tmp/telling").write_text(json.dumps(told))
    Path("/tmp/telling").rename("/tmp/told.json")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
