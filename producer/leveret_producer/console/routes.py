"""`GET /` and the files it needs.

The page always answers 200: without Prometheus it says so, and what to do. It runs no script and loads nothing from
elsewhere, and its Content-Security-Policy forbids both.
"""

import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files

import httpx
from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from leveret_producer.console.pages import Pages
from leveret_producer.console.prometheus import Prometheus, Unreachable
from leveret_producer.console.readings import Span
from leveret_producer.console.view import Choice

STATIC = {"console.css": "text/css; charset=utf-8", "leveret.svg": "image/svg+xml"}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "img-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
NOT_CONFIGURED = (
    "No Prometheus is configured, so there is nothing to draw.",
    "Jobs are accepted and run all the same. To see the panels, install the chart with prometheus.enabled=true, "
    "or give the address of your own Prometheus in prometheus.url.",
    "",
)
LOOK_AT_IT = "kubectl -n leveret get pods -l app.kubernetes.io/component=prometheus"


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    media_type: str
    version: str


def build_router(
    prometheus_url: str | None,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Callable[[], float] = time.time,
) -> APIRouter:
    """Return the page's routes; None says that there is no Prometheus. The app around it authenticates."""
    prometheus = Prometheus(prometheus_url, transport) if prometheus_url else None
    page = _Page(prometheus, clock)

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        page.close()
        if prometheus is not None:
            await prometheus.close()

    router = APIRouter(lifespan=lifespan, include_in_schema=False)
    router.add_api_route("/", page.show, methods=["GET"], response_class=HTMLResponse)
    router.add_api_route("/static/{name}", page.asset, methods=["GET"])
    return router


class _Page:
    def __init__(self, prometheus: Prometheus | None, clock: Callable[[], float]) -> None:
        self._prometheus = prometheus
        self._assets = {name: _load(name, media_type) for name, media_type in STATIC.items()}
        addresses = {name: f"/static/{name}?v={asset.version}" for name, asset in self._assets.items()}
        self._pages = Pages(prometheus, clock, addresses)
        self.close = self._pages.close

    async def show(self, queue: str = "", range: str = "", refresh: str = "1") -> HTMLResponse:
        choice = Choice(queue or None, Span.of(range), refresh != "0")
        if self._prometheus is None:
            html = self._pages.trouble(choice, NOT_CONFIGURED)
        else:
            try:
                html = await self._pages.get(choice)
            except Unreachable as problem:
                html = self._pages.trouble(choice, _silent(self._prometheus.place, problem))
        return HTMLResponse(html, headers=HEADERS)

    async def asset(self, name: str, v: str = "") -> Response:
        found = self._assets.get(name)
        if found is None:
            return Response("There is no such file.\n", 404, media_type="text/plain")
        # The address names the content, so it never changes; without the version it may.
        kept = "public, max-age=31536000, immutable" if v == found.version else "public, max-age=300"
        headers = {"Cache-Control": kept, "X-Content-Type-Options": "nosniff"}
        return Response(found.body, media_type=found.media_type, headers=headers)


def _silent(place: str, problem: Unreachable) -> tuple[str, str, str]:
    """What happened, what it means, a command."""
    return (
        f"Prometheus at {place} does not answer: {problem}.",
        "Jobs are accepted and run all the same, only the panels are missing. They come back by "
        "themselves when it answers; if it does not, look at its pod:",
        LOOK_AT_IT,
    )


def _load(name: str, media_type: str) -> Asset:
    body = files("leveret_producer.console").joinpath("static", name).read_bytes()
    return Asset(body, media_type, hashlib.sha256(body).hexdigest()[:12])
