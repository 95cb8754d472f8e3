"""Leveret's HTTP API, as far as the demo needs it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import httpx
import msgspec

from demo.snapshot import Decision
from leveret.jobs import State

PAGE = 500
PATIENCE_SECONDS = 60.0
READ_SECONDS = 30.0


class NotThere(Exception):
    """Something that the demo needs isn't there; the message is one sentence with the fix."""


class Unanswered(Exception):
    """The API gave no answer, or said that it can't just now: worth asking again."""


class ListedJob(msgspec.Struct, frozen=True):
    id: str
    state: State
    attempt: int = 0


class JobPage(msgspec.Struct, frozen=True):
    jobs: list[ListedJob]
    next: str | None = None


class QueueNow(msgspec.Struct, frozen=True):
    """What the API says about a queue; None where it doesn't know."""

    backlog: int | None = None
    replicas: int | None = None
    desired_replicas: int | None = None
    decisions: list["DecisionNow"] = []


class DecisionNow(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    time: datetime
    before: int
    after: int
    reason: str
    message: str

    def value(self) -> Decision:
        return Decision(self.time, self.before, self.after, self.reason, self.message)


class Report(msgspec.Struct, frozen=True):
    """The result of a check."""

    status: int | None
    latency_seconds: float | None
    redirects: list[str]
    error: str | None


class JobError(msgspec.Struct, frozen=True):
    reason: str
    message: str


class FinalJob(msgspec.Struct, frozen=True):
    state: State
    result: Report | None = None
    error: JobError | None = None


class _Id(msgspec.Struct, frozen=True):
    id: str


class _Accepted(msgspec.Struct, frozen=True):
    jobs: list[_Id]


class _Problem(msgspec.Struct, frozen=True):
    title: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Api:
    client: httpx.Client
    queue: str

    def ready(self) -> str | None:
        """Return None if the API answers that it is ready, else what it does instead."""
        try:
            answer = self.client.get("/readyz")
        except httpx.TransportError as problem:
            return f"{self.client.base_url} does not answer ({problem})"
        return None if answer.status_code == 200 else f"it answers {answer.status_code}"

    def knows_queue(self) -> str | None:
        """Return None if the API knows the queue, else what it says instead."""
        try:
            self.queue_now()
        except Unanswered as problem:
            return str(problem)
        return None

    def queue_now(self) -> QueueNow:
        """Raises Unanswered, also while the queue is not known."""
        answer = self._get(f"/v1/queues/{self.queue}")
        if answer.status_code == 404:
            raise Unanswered(f"the queue {self.queue} is not known yet")
        return msgspec.json.decode(self._good(answer), type=QueueNow)

    def submit(self, urls: Sequence[str]) -> list[str]:
        """Submit a list and return the jobs' ids in its order; raise NotThere if it is not accepted within a minute."""
        body = msgspec.json.encode([{"type": "check-url", "payload": {"url": url}} for url in urls])
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return [job.id for job in msgspec.json.decode(self._good(self._post(body)), type=_Accepted).jobs]
            except Unanswered as problem:  # nothing was accepted then, so it may be sent again
                if time.monotonic() > end:
                    raise NotThere(f"The API accepts no jobs: {problem}. `kubectl -n leveret get pods`") from problem
                time.sleep(1)

    def page(self, before: str | None) -> JobPage:
        """Return a page of the queue's jobs, the newest first; raise Unanswered."""
        query: dict[str, str | int] = {"queue": self.queue, "limit": PAGE}
        if before is not None:
            query["before"] = before
        return msgspec.json.decode(self._good(self._get("/v1/jobs", query)), type=JobPage)

    def job(self, id: str) -> FinalJob:
        return msgspec.json.decode(self._good(self._get(f"/v1/jobs/{id}")), type=FinalJob)

    def _get(self, path: str, query: dict[str, str | int] | None = None) -> httpx.Response:
        try:
            return self.client.get(path, params=query)
        except httpx.TransportError as problem:
            raise Unanswered(f"{self.client.base_url} does not answer ({problem})") from problem

    def _post(self, body: bytes) -> httpx.Response:
        path = f"/v1/queues/{self.queue}/jobs"
        try:
            return self.client.post(path, content=body, headers={"Content-Type": "application/json"})
        except httpx.ConnectError as problem:
            raise Unanswered(f"{self.client.base_url} does not answer ({problem})") from problem
        except httpx.TransportError as problem:
            raise NotThere(
                f"The connection broke while a list was on its way ({problem}): it may be accepted or not. Run the demo again."
            ) from problem

    def _good(self, answer: httpx.Response) -> bytes:
        if answer.is_success:
            return answer.content
        if answer.status_code == 401:
            raise NotThere("The API does not take the token of Secret leveret-token: run `make up`, then this again.")
        try:
            problem = msgspec.json.decode(answer.content, type=_Problem)
        except msgspec.MsgspecError:
            problem = _Problem()
        said = f"it answers {answer.status_code} {problem.title}: {problem.detail}".rstrip(": ")
        if answer.status_code in (429, 502, 503, 504):
            raise Unanswered(said)
        raise NotThere(f"The API refuses {answer.request.url.path}: {said}")


def connect(url: str, token: str, queue: str) -> Api:
    """Return the API at a URL; nothing is asked yet."""
    headers = {"Authorization": f"Bearer {token}"}
    return Api(httpx.Client(base_url=url, headers=headers, timeout=READ_SECONDS, trust_env=False), queue)
