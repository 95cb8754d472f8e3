"""What the store says of the run's jobs, read over HTTP as any client does."""

import asyncio
import time
from collections.abc import Collection
from typing import Any

import httpx

from chaos.evidence import Row
from chaos.witness import run_of, seconds

PAGE = 500
PATIENCE_SECONDS = 60.0
NOT_FINAL = ("accepted", "scheduled", "blocked", "queued", "running", "retrying")


class Unanswered(Exception):
    """The API gave no answer for a minute, though nothing disturbs it."""


async def not_final(http: httpx.AsyncClient, queues: Collection[str], since: float) -> int:
    """Count the jobs made since then that are not in a final state; 500 of a queue and state stand for all that there are."""
    pages = [
        await _get(http, {"queue": queue, "state": state, "limit": PAGE}) for queue in queues for state in NOT_FINAL
    ]
    return sum(seconds(job["created_at"]) >= since for page in pages for job in page["jobs"])


async def read(http: httpx.AsyncClient, queues: Collection[str], since: float) -> dict[str, Row]:
    """Return every job of the queues that was made since then, by its id."""
    rows: dict[str, Row] = {}
    for queue in queues:
        query: dict[str, str | int] = {"queue": queue, "limit": PAGE}
        while True:
            page = await _get(http, query)
            rows |= {job["id"]: _row(job) for job in page["jobs"] if seconds(job["created_at"]) >= since}
            if not page["next"] or not page["jobs"] or seconds(page["jobs"][-1]["created_at"]) < since:
                break
            query["before"] = page["next"]
    return rows


def _row(job: dict[str, Any]) -> Row:
    runs = (run_of({**one, "generation": job["generation"]}, one["started_at"]) for one in job["attempts"])
    return Row(job["state"], job["generation"], job["attempt"], tuple(run for run in runs if run is not None))


async def _get(http: httpx.AsyncClient, query: dict[str, str | int]) -> Any:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            answer = await http.get("/v1/jobs", params=query)
            if answer.status_code == 200:
                return answer.json()
            said = f"{answer.status_code} {answer.text[:200]}"
        except httpx.TransportError as problem:
            said = f"{type(problem).__name__}: {problem}"
        if time.monotonic() > end:
            raise Unanswered(f"GET /v1/jobs: {said}")
        await asyncio.sleep(1.0)
