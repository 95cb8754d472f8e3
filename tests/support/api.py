"""The HTTP API as a client outside of Leveret uses it."""

import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

FINAL = {"succeeded", "dead"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    body: Any

    @property
    def retry_after(self) -> float:
        return float(self.headers.get("retry-after", "1"))


@dataclass(frozen=True)
class Api:
    url: str
    token: str

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send one request; `body` as JSON, or as it is if it's bytes. Raises OSError where nobody answers."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        sent = {
            "authorization": f"Bearer {self.token}",
            "content-type": "application/json",
            "connection": "close",
        } | headers
        for name, value in sent.items():
            if value:
                request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return _answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as problem:
            with problem:
                return _answer(problem.code, dict(problem.headers), problem.read())

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status == 200, f"GET {path}: {answer}"
        return answer.body

    def submit(self, queue: str, jobs: list[dict[str, Any]], *, patience: float = 120) -> list[str]:
        """Post a list, as often as it takes to get a 202 (the API may be away for a moment); return the ids."""
        end = time.monotonic() + patience
        while True:
            try:
                answer = self.call("POST", f"/v1/queues/{queue}/jobs", jobs)
            except OSError as problem:
                answer = Answer(503, {}, repr(problem))
            if answer.status == 202:
                return [job["id"] for job in answer.body["jobs"]]
            assert answer.status in (404, 429, 503), f"submitting to {queue}: {answer}"
            assert time.monotonic() < end, f"submitting to {queue}: not within {patience} s: {answer}"
            time.sleep(min(answer.retry_after, 2))

    def jobs(self, queue: str) -> Iterator[dict[str, Any]]:
        """Every job of a queue, newest first, page by page."""
        cursor = ""
        while True:
            page = self.get(f"/v1/jobs?queue={queue}&limit=500{cursor}")
            yield from page["jobs"]
            if not page["next"]:
                return
            cursor = f"&before={page['next']}"

    def wait_final(self, queue: str, ids: list[str], seconds: float) -> dict[str, dict[str, Any]]:
        """Return the jobs once all of them are in a final state; fail with what is left when the time is up."""
        wanted, end = set(ids), time.monotonic() + seconds
        while True:
            try:
                found = {job["id"]: job for job in self.jobs(queue) if job["id"] in wanted}
            except (OSError, AssertionError):
                found = {}
            if len(found) == len(wanted) and all(job["state"] in FINAL for job in found.values()):
                return found
            states = Counter(job["state"] for job in found.values())
            assert time.monotonic() < end, f"{len(wanted)} jobs, after {seconds} s: {dict(states)}"
            time.sleep(1)


def eventually(what: str, probe: Callable[[], bool], seconds: float = 60, every: float = 0.25) -> float:
    """Wait until a probe is true; return how long it took. A probe that raises is not true yet."""
    began = time.monotonic()
    problem: Exception | None = None
    while True:
        try:
            if probe():
                return time.monotonic() - began
            problem = None
        except Exception as raised:
            problem = raised
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds} s ({problem!r})"
        time.sleep(every)


def _answer(status: int, headers: dict[str, str], body: bytes) -> Answer:
    lower = {name.lower(): value for name, value in headers.items()}
    return Answer(status, lower, json.loads(body) if "json" in lower.get("content-type", "") else body.decode())
