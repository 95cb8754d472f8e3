"""Prometheus as an httpx transport: answers with the shapes that a real one's have, or fails as a real one does."""

from collections.abc import Callable
from urllib.parse import parse_qs

import httpx

NOW = 1_795_332_000.0
QUEUES = ("leveret.bench", "leveret.url-check")


class Pretended(httpx.AsyncBaseTransport):
    """Answers as Prometheus does, and counts."""

    def __init__(self, queues: tuple[str, ...] = QUEUES, value: str = "42") -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.queues, self.value = queues, value

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        form = {key: values[0] for key, values in parse_qs((await request.aread()).decode()).items()}
        self.asked.append((request.url.path, form))
        return self.answer(request.url.path, form)

    def answer(self, path: str, form: dict[str, str]) -> httpx.Response:
        labels: list[dict[str, str]] = [{"queue": queue} for queue in self.queues]
        if "queue" not in form["query"]:
            labels = [{}]
        if path.endswith("/query"):
            kind, result = "vector", [{"metric": each, "value": [NOW, self.value]} for each in labels]
        else:
            times = [float(form["end"]) - 10 * back for back in (4, 3, 1, 0)]
            values = [[at, self.value] for at in times]
            kind, result = "matrix", [{"metric": each, "values": values} for each in labels]
        return httpx.Response(200, json={"status": "success", "data": {"resultType": kind, "result": result}})


class Refusing(Pretended):
    """Has something against one query."""

    def answer(self, path: str, form: dict[str, str]) -> httpx.Response:
        if "leveret_job_retries_total" in form["query"]:
            error = {"status": "error", "errorType": "bad_data", "error": "too many samples <here>"}
            return httpx.Response(422, json=error)
        return super().answer(path, form)


class Broken(httpx.AsyncBaseTransport):
    def __init__(self, how: Callable[[httpx.Request], httpx.Response]) -> None:
        self.how, self.asked = how, 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        return self.how(request)


def refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("All connection attempts failed", request=request)


def too_slow(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("", request=request)
