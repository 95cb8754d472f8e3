"""The handlers of chaos that have effects, on a real PostgreSQL: what their table says of each run, and how it is read."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from containers import Server
from processes import pg_variables

from chaos import effects
from chaos.effects import Effect
from examples.bench.effects import TABLE, engine, handlers
from leveret import marks
from leveret_consumer.ends import DeadLetter, RetryAfter, Succeeded
from leveret_consumer.testing import run_attempt


@pytest.fixture
async def psql(own: Server, empty: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Ask as chaos does, inside the database's container."""
    variables = pg_variables(empty)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def ask(statements: str) -> str:
        return str(own.run("psql", "-qAtX", "-U", "leveret", "-d", variables["PGDATABASE"], "-c", statements))

    ask(f"DROP TABLE IF EXISTS effects;\n{TABLE}\n{marks.DDL}")
    yield ask
    await engine.dispose()


async def test_a_job_has_its_row_once_where_it_succeeded_and_none_where_it_did_not(psql: Any) -> None:
    job, parent = uuid4(), UUID(int=5)
    for _ in range(2):
        assert await run_attempt(handlers, "effect", {"value": "v"}, job_id=job) == Succeeded(b'"v"')
    after = await run_attempt(handlers, "effect", {"value": "w", "ending": "raise after"})
    assert after == Succeeded(b'"w"')
    followed = await run_attempt(handlers, "follow-up", {"parent": str(parent), "number": 1})
    assert followed == Succeeded(b"null")
    rejected = await run_attempt(handlers, "effect", {"value": 1, "ending": "reject"})
    assert isinstance(rejected, DeadLetter)
    assert isinstance(await run_attempt(handlers, "effect", {"value": 1, "fails": 1}), RetryAfter)

    first, other, follow_up = effects.read(psql(effects.SELECT))

    assert first == Effect(str(job), None, 0, 0)
    assert other == Effect(other.job, None, 0, 0)
    assert follow_up == Effect(follow_up.job, str(parent), 1, 0)
