"""Ask Prometheus over its HTTP API.

Short time-outs, because a person waits; one connection pool; an answer is values or one of two errors. Prometheus writes
a number that it could not compute as NaN: that is unknown, and becomes None.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import msgspec

TIMEOUT = httpx.Timeout(4.0, connect=1.0)  # s
MOST_BYTES = 4 * 2**20  # of one answer: twelve queues with three lines each at 720 times are a sixth of it
AT_ONCE = httpx.Limits(max_connections=8, max_keepalive_connections=8)


class Unreachable(Exception):
    """Prometheus does not answer; says in a few words what happened."""


class QueryRefused(Exception):
    """Prometheus answered, and refused this query."""


@dataclass(frozen=True, slots=True)
class Sample:
    labels: Mapping[str, str]
    value: float | None


@dataclass(frozen=True, slots=True)
class Series:
    labels: Mapping[str, str]
    points: tuple[tuple[float, float | None], ...]  # Unix time, value; ascending; what is missing is not there


class _Result(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str] | None = None
    values: list[tuple[float, str]] = []


class _Data(msgspec.Struct):
    result: list[_Result]


class _Answer(msgspec.Struct):
    status: str
    data: _Data | None = None
    error: str = ""


_decode = msgspec.json.Decoder(_Answer).decode


class Prometheus:
    """A client for one Prometheus; `url` may have a path and a user and password."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.AsyncClient(timeout=TIMEOUT, limits=AT_ONCE, transport=transport)

    @property
    def place(self) -> str:
        """Host and port, without credentials."""
        parts = urlsplit(self._url)
        return parts.netloc.rpartition("@")[2]

    async def now(self, promql: str, at: float) -> list[Sample]:
        """Return the query's value for each set of labels at one time."""
        result = await self._ask("query", {"query": promql, "time": f"{at:.3f}"})
        return [Sample(one.metric, _number(one.value[1])) for one in result if one.value is not None]

    async def over(self, promql: str, start: float, end: float, step: float) -> list[Series]:
        """Return the query's values every `step` seconds from `start` to `end`."""
        window = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        result = await self._ask("query_range", {"query": promql, **window})
        return [Series(one.metric, tuple((at, _number(text)) for at, text in one.values)) for one in result]

    async def close(self) -> None:
        await self._http.aclose()

    async def _ask(self, path: str, form: dict[str, str]) -> list[_Result]:
        try:
            status, body = await self._post(path, form)
        except httpx.TimeoutException as problem:
            raise Unreachable("it took too long to answer") from problem
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            raise Unreachable("the connection failed") from problem
        try:
            read = _decode(body)
        except msgspec.MsgspecError as problem:
            raise Unreachable(f"it answered {status} and not as Prometheus does") from problem
        if read.status == "success" and read.data is not None:
            return read.data.result
        if status in (400, 422):
            raise QueryRefused(read.error)
        raise Unreachable(f"it answered {status}")

    async def _post(self, path: str, form: dict[str, str]) -> tuple[int, bytes]:
        """Return status and body; what is too large for a panel is not read to its end."""
        body = bytearray()
        async with self._http.stream("POST", f"{self._url}/api/v1/{path}", data=form) as answer:
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > MOST_BYTES:
                    raise QueryRefused(
                        f"its answer is larger than {MOST_BYTES // 2**20} MiB; choose a queue, or a shorter time"
                    )
        return answer.status_code, bytes(body)


def _number(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None
