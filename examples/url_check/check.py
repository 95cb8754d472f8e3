"""Check one URL: follow its redirects and report what came of it.

Any answer below 500 is a report, and so is a refusal by the policy: asking again would not change it. A server that
fails (5xx), can't be reached or keeps silent raises CheckFailed, so that the job is tried again and ends as a dead
letter if that doesn't help.
"""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

import httpx
from pydantic import BaseModel

from examples.url_check.policy import RefusedByPolicy
from examples.url_check.web import Answer, CheckFailed

MOST_REDIRECTS = 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class UrlReport(BaseModel):
    """What is known about a URL; null where nothing is known."""

    url: str
    status: int | None
    latency_seconds: float | None  # from the first request to the head of the last answer, redirects included
    redirects: list[str]  # the URLs it was sent on to, in order; the status is the last one's
    error: str | None


class Asks(Protocol):
    async def get(self, url: httpx.URL) -> Answer: ...


async def check(url: str, web: Asks, clock: Callable[[], float] = time.perf_counter) -> UrlReport:
    """Return the report on a URL; raise CheckFailed if another attempt is worth it. `clock` counts seconds."""
    began = clock()
    redirects: list[str] = []
    status: int | None = None
    error: str | None = None
    latency: float | None = None
    try:
        here = httpx.URL(url)
        while True:
            answer = await web.get(here)
            status, latency = answer.status, clock() - began
            if status >= 500:
                raise CheckFailed(f"{here} answered {_status_line(status)}{_after(redirects)}")
            if status not in REDIRECTS or answer.location is None:
                break
            if len(redirects) == MOST_REDIRECTS:
                error = f"gave up after {MOST_REDIRECTS} redirects, at {here}"
                break
            here = here.join(answer.location)
            redirects.append(str(here))
    except RefusedByPolicy as refusal:
        error, status, latency = f"refused by policy: {refusal}{_after(redirects)}", None, None
    except httpx.InvalidURL as problem:
        error = f"not a URL that can be asked: {problem}{_after(redirects)}"
    return UrlReport(url=url, status=status, latency_seconds=latency, redirects=redirects, error=error)


def _status_line(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}" if status in HTTPStatus._value2member_map_ else str(status)


def _after(redirects: list[str]) -> str:
    if not redirects:
        return ""
    return f", after {len(redirects)} redirect{'s' if len(redirects) > 1 else ''}"
