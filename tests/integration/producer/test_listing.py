"""Lists of jobs by state and by type are read from indexes, whatever they leave out, however many jobs there are."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
import uuid_utils
from sqlalchemy import text

from leveret.events import Error, JobEvent
from leveret.jobs import State
from leveret.settings import Database
from leveret_producer.recorder.merge import Report
from leveret_producer.store.jobs import Jobs
from leveret_producer.store.listing import Wanted, listing
from leveret_producer.store.migrate import migrate
from leveret_producer.store.postgres import Postgres
from leveret_producer.store.recording import Recording

JOBS = 20_000
# Of today: three queues, one of which has few; a rare state, and a rare type.
_FILL = text(
    """
    INSERT INTO jobs (id, queue, type, state, merge_key, created_at, published_at)
    SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM now()) * 1000 AS bigint) - number), 12, '0')
                || '7' || substr(md5(CAST(number AS text)), 1, 3) || '8' || substr(md5(CAST(number AS text)), 4, 15) AS uuid),
           'leveret.' || CASE WHEN number % 5000 = 0 THEN 'few' WHEN number % 2 = 0 THEN 'even' ELSE 'odd' END,
           CASE WHEN number > 19990 THEN 'rare' ELSE 'often' END,
           CASE WHEN number > 19980 THEN 'dead' ELSE 'succeeded' END,
           1, now() - number * interval '1 ms', now()
    FROM generate_series(1, :jobs) AS number
    """
)


@pytest.fixture
async def filled(database: Database) -> AsyncIterator[Postgres]:
    one = Postgres(lambda: database, connections=2, name="test")
    await migrate(one)
    async with one.transaction(30) as connection:
        await connection.execute(_FILL, {"jobs": JOBS})
    async with one.transaction(30) as connection:
        await connection.execute(text("ANALYZE jobs"))
    yield one
    await one.close()


WANTED = {
    "all": (Wanted(), 50),
    "queue": (Wanted(queue="leveret.few"), 4),
    "state": (Wanted(state=State.DEAD), 20),
    "type": (Wanted(type="rare"), 10),
    "state and type": (Wanted(state=State.DEAD, type="rare"), 10),
    "queue and state": (Wanted(queue="leveret.even", state=State.DEAD), 9),
    "queue and type": (Wanted(queue="leveret.odd", type="rare"), 5),
    "a state that most are in": (Wanted(state=State.SUCCEEDED), 50),
    "a type that most are of": (Wanted(type="often", limit=500), 500),
    "a state that none is in": (Wanted(state=State.RUNNING), 0),
    "a type that none is of": (Wanted(type="never"), 0),
    "a queue that none is in": (Wanted(queue="leveret.none", type="often"), 0),
}


async def test_a_list_is_read_from_an_index(filled: Postgres) -> None:
    for name, (wanted, there) in WANTED.items():
        page = await Jobs(filled).page(wanted)
        assert len(page) == there, name
        assert page == sorted(page, key=lambda job: (job.created_at, job.id), reverse=True)
        nodes = await _plan(filled, wanted)
        assert sum(_touched(node) for node in nodes) < 2_000, name
        assert not [node for node in nodes if node["Node Type"] == "Seq Scan" and _touched(node)], name


async def test_a_list_has_the_last_attempts_and_no_tracebacks(database: Database) -> None:
    store = Postgres(lambda: database, connections=2, name="test")
    await migrate(store)
    job, at = UUID(str(uuid_utils.uuid7())), datetime.now(UTC)
    errors = [
        Error("Failed", 'it said: ,"traceback":"', "ValueError", 'at "line" 1\n\\'),
        Error("Failed", "no more is known"),
    ]
    reports = [
        Report("q", JobEvent(job, "t", State.RETRYING, at, "pod", attempt=one, started_at=at, error=errors[one % 2]))
        for one in range(1, 1_031)
    ]
    await Recording(store).record(reports)
    jobs = Jobs(store)
    [listed] = await jobs.page(Wanted())
    whole = await jobs.get(job)
    await store.close()
    assert whole is not None
    assert [one.attempt for one in whole.attempts] == list(range(31, 1_031))
    assert [_error(one.error) for one in whole.attempts[-2:]] == [errors[1], errors[0]]
    assert _error(whole.error) == errors[0]
    short = msgspec.structs.replace(errors[0], traceback=None)
    assert [one.attempt for one in listed.attempts] == list(range(1_011, 1_031))
    assert [_error(one.error) for one in listed.attempts[-2:]] == [errors[1], short]
    assert _error(listed.error) == short


def _error(stored: msgspec.Raw | None) -> Error:
    assert stored is not None
    return msgspec.json.decode(stored, type=Error)


async def _plan(postgres: Postgres, wanted: Wanted) -> list[dict[str, Any]]:
    """Return the nodes of the plan, as it was carried out."""
    statement, values = listing(wanted)
    async with postgres.transaction() as connection:
        plan = await connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"), values)
        found = plan.scalar_one()
    nodes = [(json.loads(found) if isinstance(found, str) else found)[0]["Plan"]]
    for node in nodes:
        nodes += node.get("Plans", [])
    return nodes


def _touched(node: dict[str, Any]) -> int:
    """Return how many rows a scan of jobs read."""
    if "Relation Name" not in node:
        return 0
    rows: int = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return rows
