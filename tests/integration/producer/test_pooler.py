"""A real PgBouncer before PostgreSQL: what docs/how-to/your-own-postgresql.md says of each of its modes."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import msgspec
import pytest
from containers import Server
from poolers import IGNORED, PORT, pgbouncer
from producers import QUEUE, Producer, database_url, eventually_true, known, operating, producing, ready, tell

from examples.url_check.store import Store
from leveret.events import JobEvent
from leveret.jobs import State
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database
from leveret_producer.retention.session import alone
from leveret_producer.store.pooler import SHARED

PAGE = Path(__file__).parents[3] / "docs/how-to/your-own-postgresql.md"
MANY = 50


@pytest.fixture
def told() -> str:
    """The page, its lines as they flow."""
    return " ".join(PAGE.read_text().split())


@contextmanager
def _pooled(postgres: Server, database: Database, folder: Path, mode: str, **settings: object) -> Iterator[Database]:
    with pgbouncer(postgres, folder, pool_mode=mode, **settings) as pooler:
        yield replace(database, port=pooler.ports[PORT])


async def _all_succeed(producer: Producer, operator: Publisher) -> None:
    """Submit many jobs at once, have each succeed, and read each result."""
    await known(producer)
    answers = await asyncio.gather(*(producer.submit({"type": "echo", "payload": n}) for n in range(MANY)))
    assert Counter(one.status_code for one in answers) == {202: MANY}
    ids = [one.json()["id"] for one in answers]
    now = datetime.now(UTC)
    for number, job in enumerate(ids):
        running = JobEvent(UUID(job), "echo", State.RUNNING, now, "pod-1", started_at=now, wait_seconds=0.1)
        done = msgspec.structs.replace(running, state=State.SUCCEEDED, result=msgspec.Raw(b"%d" % number))
        await tell(operator, f"job.{QUEUE}", [running, done])

    async def have_results() -> bool:
        found = await asyncio.gather(*map(producer.job, ids))
        return [one["result"] for one in found] == list(range(MANY))

    await eventually_true(have_results, "each has its result")


async def test_session_mode_that_ignores_three_settings(
    broker: Broker, postgres: Server, database: Database, tmp_path: Path, told: str
) -> None:
    assert f"ignore_startup_parameters = {IGNORED}" in told
    with _pooled(postgres, database, tmp_path, "session", ignore_startup_parameters=IGNORED) as place:
        async with producing(broker, place) as producer, operating(broker, QUEUE) as operator:
            await ready(producer)
            await _all_succeed(producer, operator)
            assert (await producer.says())["says"] == "serving"
        async with alone(lambda: place, "first") as first, alone(lambda: place, "second") as second:
            assert first is not None
            assert second is None

        async def is_free() -> bool:
            async with alone(lambda: place, "third") as third:
                return third is not None

        await eventually_true(is_free, "retention's lock ends with its connection")
        store = Store(database_url(place))
        await asyncio.gather(*(store.ping() for _ in range(4)))
        await store.close()


@pytest.mark.parametrize(
    ("mode", "ignored", "because"),
    [
        pytest.param("session", "extra_float_digits", "unsupported startup parameter: statement_timeout", id="session"),
        pytest.param("statement", IGNORED, "transaction blocks not allowed in statement pooling mode", id="statement"),
    ],
)
async def test_a_pooler_that_lets_nothing_begin_is_told(
    broker: Broker,
    postgres: Server,
    database: Database,
    tmp_path: Path,
    told: str,
    mode: str,
    ignored: str,
    because: str,
) -> None:
    sentence = f"{because}: a pooler in between must be in session mode and ignore three settings"
    assert sentence in told
    with _pooled(postgres, database, tmp_path, mode, ignore_startup_parameters=ignored) as place:
        async with producing(broker, place) as producer:

            async def says_so() -> bool:
                return sentence in str((await producer.says())["database"])

            await eventually_true(says_so, "it says why")
            assert (await producer.http.get("/readyz")).status_code == 503


async def test_transaction_mode_that_carries_statements_along_is_warned_of(
    broker: Broker, postgres: Server, database: Database, tmp_path: Path, told: str
) -> None:
    assert SHARED.split(" (")[0] in told
    settings = {"ignore_startup_parameters": IGNORED, "max_prepared_statements": 200}
    with _pooled(postgres, database, tmp_path, "transaction", **settings) as place:
        async with producing(broker, place) as producer, operating(broker, QUEUE) as operator:
            await ready(producer)
            await _all_succeed(producer, operator)
            assert SHARED in str((await producer.says())["says"])
        async with alone(lambda: place, "first"):
            pass
        connection = await asyncpg.connect(database_url(database))
        kept = await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert kept, "nor does retention's lock end with its connection"
        await connection.close()


async def test_transaction_mode_that_carries_no_statements_along_is_warned_of_and_refuses_requests(
    broker: Broker, postgres: Server, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"ignore_startup_parameters": IGNORED, "max_prepared_statements": 0}
    with _pooled(postgres, database, tmp_path, "transaction", **settings) as place:
        async with producing(broker, place) as producer, operating(broker, QUEUE):
            await ready(producer)
            assert SHARED in str((await producer.says())["says"])
            refused = set()

            async def some_are_refused() -> bool:
                answers = await asyncio.gather(*(producer.submit({"type": "echo", "payload": 1}) for _ in range(MANY)))
                refused.update(one.json()["detail"] for one in answers if one.status_code == 503)
                return bool(refused)

            await eventually_true(some_are_refused, "some are refused")
    assert all("nothing was stored" in one for one in refused)
    assert "does not exist: a pooler in between must be in session mode" in "".join(capsys.readouterr())
