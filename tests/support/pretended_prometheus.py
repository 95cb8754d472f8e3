"""Prometheus as an httpx transport: answers with the shapes that a real one's have, or fails as a real one does."""

import re
from collections.abc import Callable
from urllib.parse import parse_qs

import httpx

NOW = 1_795_332_000.0
QUEUES = ("leveret.bench", "leveret.url-check")


class Pretended(httpx.AsyncBaseTransport):
    """Answers as Prometheus does, and counts; of what `topk` asks for, the last of its queues are the highest."""

    def __init__(self, queues: tuple[str, ...] = QUEUES, value: str = "42", gone: tuple[str, ...] = ()) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.queues, self.value, self.gone = queues, value, gone

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        form = {key: values[0] for key, values in parse_qs((await request.aread()).decode()).items()}
        self.asked.append((request.url.path, form))
        return self.answer(request.url.path, form)

    def answer(self, path: str, form: dict[str, str]) -> httpx.Response:
        promql = form["query"]
        known = self.queues if path.endswith("/query") and "_over_time" not in promql else self.queues + self.gone
        wanted = re.search(r'queue=~"((?:[^"\\]|\\.)*)"', promql)
        pattern = re.sub(r"\\(.)", r"\1", wanted.group(1)) if wanted else ".*"
        names = [name for name in known if re.fullmatch(pattern, name)]
        if highest := re.match(r"topk\((\d+)", promql):
            names = names[-int(highest.group(1)) :]
        labels: list[dict[str, str]] = [{"queue": name} for name in names] if "queue" in promql else [{}]
        if path.endswith("/query"):
            kind, result = "vector", [{"metric": each, "value": [NOW, self.value]} for each in labels]
        else:
            times = self.times(float(form["start"]), float(form["end"]), float(form["step"]))
            values = [[at, self.value] for at in times]
            kind, result = "matrix", [{"metric": each, "values": values} for each in labels]
        return httpx.Response(200, json={"status": "success", "data": {"resultType": kind, "result": result}})

    def times(self, start: float, end: float, step: float) -> list[float]:
        """Some of those that were asked for."""
        return [end - 10 * back for back in (4, 3, 1, 0)]


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
