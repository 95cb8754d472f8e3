"""The HTTP application over a database that answers at once, called as a server calls it, its body in pieces."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from leveret.settings import Places
from leveret_producer.app import create_app
from leveret_producer.catalog import Catalog
from leveret_producer.health import Health
from leveret_producer.metrics import Metrics
from leveret_producer.outbox.bound import Bound
from leveret_producer.outbox.hinting import Hinting
from leveret_producer.outbox.relay import Relay
from leveret_producer.parts import Parts
from leveret_producer.schemas import Schemas
from leveret_producer.settings import Settings
from leveret_producer.store.jobs import Jobs
from leveret_producer.store.keys import Keys
from leveret_producer.store.outcomes import Outcomes
from leveret_producer.store.postgres import Postgres
from leveret_producer.store.queues import KnownQueue
from leveret_producer.submit import FrontDoor

QUEUE = "leveret.a"
PIECE = 64 << 10  # bytes


class Answering:
    """In place of PostgreSQL."""

    trouble: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    @asynccontextmanager
    async def transaction(self, timeout: float = 5.0) -> AsyncIterator["Answering"]:
        yield self
        self.trouble()

    statement = transaction

    async def execute(self, statement: object, values: dict[str, Any] | None = None) -> "Answering":
        self.asked.append(values or {})
        return self

    def one_or_none(self) -> SimpleNamespace:
        return SimpleNamespace(until=datetime.now(UTC))

    def scalars(self) -> list[str]:
        return []

    def all(self) -> list[Any]:
        return []


class Known:
    def __init__(self, *queues: KnownQueue) -> None:
        self.queues = {one.name: one for one in queues}

    async def known(self) -> dict[str, KnownQueue]:
        return self.queues


class Server:
    def __init__(self, *queues: KnownQueue, postgres: Postgres | None = None) -> None:
        self.database = Answering()
        metrics, bound, health = Metrics(), Bound(10**9), Health()
        health.migrated = True
        relay = Relay(cast(Any, self.database), metrics, bound)
        relay.connected = True
        known = Known(*(queues or [KnownQueue(QUEUE, 5, {}, "v1")]))
        self.front_door = FrontDoor(
            Catalog(cast(Any, known)), Schemas(), Jobs(postgres or cast(Any, self.database)), bound, relay,
            Hinting("p", relay, bound), metrics, lambda: datetime.now(UTC), Keys(postgres or cast(Any, self.database)),
        )  # fmt: skip
        others: dict[str, Any] = dict.fromkeys(Parts.__dataclass_fields__)
        outcomes = Outcomes(postgres or cast(Any, self.database))
        made = {"health": health, "metrics": metrics, "front_door": self.front_door, "outcomes": outcomes}
        parts = Parts(**{**others, **made})
        self._app, self._state = create_app(Settings(Places({"LEVERET_TOKEN": "t"}), "p"), health), {"parts": parts}

    async def call(
        self, body: bytes = b"", path: str = f"/v1/queues/{QUEUE}/jobs", method: str = "POST",
        pieces: AsyncIterator[bytes] | None = None, more: Sequence[tuple[bytes, bytes]] = (),
    ) -> tuple[int, dict[str, Any], dict[str, str]]:  # fmt: skip
        """Return status, document and headers."""
        sent: list[dict[str, Any]] = []
        coming = pieces or _cut(body)

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0)
            piece = await anext(coming, None)
            return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", b"application/json"), (b"authorization", b"Bearer t"), (b"host", b"x"), *more]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
            "client": ("192.0.2.1", 1), "server": ("192.0.2.2", 8080), "state": dict(self._state),
        }  # fmt: skip
        await self._app(scope, receive, send)  # type: ignore[arg-type]
        await asyncio.sleep(0)  # what the caller does with it is no part of the answer's making
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], msgspec.json.decode(b"".join(one.get("body", b"") for one in sent[1:])), told


async def _cut(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]
