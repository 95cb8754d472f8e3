"""Follow-ups of a transaction, on a real PostgreSQL by each driver: they are committed with its rows, or nowhere."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from commit_proxy import Loss, commit_proxy
from follow_up_jobs import ROWS, handlers_with
from sqlalchemy import event
from transacting import Rows, engine_of, url_of

from leveret import Context, Handlers, Retry, marks
from leveret.sdk.follow_ups import FollowUp
from leveret.settings import Database
from leveret_consumer.testing import DeadLetter, Outcome, Succeeded, run_attempt

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "transactions.md"
WITHOUT_THE_COLUMN = "ALTER TABLE leveret_marks DROP COLUMN follow_ups"


@pytest.fixture
async def engine(driver: str, database: Database, rows: Rows) -> AsyncIterator[Any]:
    async with engine_of(driver, database) as made:
        yield made


@pytest.fixture
def handlers(engine: Any) -> Handlers:
    return handlers_with(engine)


async def run(handlers: Handlers, job: UUID, cancelled_after: float | None = None, **payload: Any) -> Outcome:
    return await run_attempt(
        handlers, "kept", payload, job_id=job, retry=Retry(max_attempts=1), cancelled_after=cancelled_after
    )


def follow_ups(outcome: Outcome) -> tuple[FollowUp, ...]:
    assert isinstance(outcome, Succeeded), outcome
    return outcome.follow_ups


def expected(job: UUID, children: int = 2) -> list[tuple[UUID, str, str, bytes]]:
    ctx = Context(job_id=job, queue="test.queue")
    payloads = [{"n": n} for n in range(children)]
    return [
        (ctx.submit("child", one), "test.queue", "child", json.dumps(one, separators=(",", ":")).encode())
        for one in payloads
    ]


async def test_each_run_that_finds_the_mark_has_the_same_follow_ups(handlers: Handlers, rows: Rows) -> None:
    job = uuid4()
    first = await run(handlers, job, delay="1h")
    assert [(one.id, one.queue, one.type, one.payload) for one in follow_ups(first)] == expected(job)
    assert all(one.run_at for one in follow_ups(first))
    again, cancelled = await run(handlers, job, children=5), await run(handlers, job, cancelled_after=0)
    assert follow_ups(again) == follow_ups(cancelled) == follow_ups(first), (
        "they are the mark's, as they were committed"
    )
    assert await rows.of(job) == ROWS


async def test_what_fails_within_the_block_leaves_none_and_after_it_those_of_the_block(
    handlers: Handlers, rows: Rows
) -> None:
    job = uuid4()
    assert isinstance(await run(handlers, job, within=True), DeadLetter)
    assert (await rows.of(job), await rows.ask("SELECT count(*) FROM leveret_marks")) == (0, 0)
    after = await run(handlers, job, after=True)
    assert [one.type for one in follow_ups(after)] == ["child", "child"], "and not what failed beside it"
    assert await rows.of(job) == ROWS


@pytest.mark.parametrize("loss", [Loss.ANSWER, Loss.COMMIT], ids=["committed", "rolled back"])
async def test_those_of_a_commit_whose_answer_is_lost(driver: str, database: Database, rows: Rows, loss: Loss) -> None:
    async with (
        commit_proxy(database.host, database.port) as proxy,
        engine_of(driver, replace(database, host="127.0.0.1", port=proxy.port)) as engine,
    ):
        handlers, job, proxy.loses = handlers_with(engine), uuid4(), loss
        outcome = await run(handlers, job)
        assert proxy.lost == 1
        if loss is Loss.COMMIT:
            assert isinstance(outcome, DeadLetter)
            outcome = await run(handlers, job)
        assert [one.id for one in follow_ups(outcome)] == [child for child, *_ in expected(job)]


async def test_a_large_list_comes_back_whole(handlers: Handlers, rows: Rows) -> None:
    job, text = uuid4(), "é\0\\x" * 700
    first = await run(handlers, job, children=1_000, child={"text": text})
    assert len({one.id for one in follow_ups(first)}) == 1_000
    assert follow_ups(await run(handlers, job)) == follow_ups(first)
    assert json.loads(follow_ups(first)[-1].payload) == {"n": 999, "text": text}


@pytest.mark.parametrize("output", ["hex", "escape"])
async def test_whatever_form_the_database_writes_bytes_in(
    handlers: Handlers, rows: Rows, database: Database, output: str
) -> None:
    await rows.do(f"ALTER DATABASE {database.dbname} SET bytea_output = '{output}'")
    job = uuid4()
    first = await run(handlers, job, child={"text": "é\\"})
    assert follow_ups(await run(handlers, job)) == follow_ups(first)


async def test_a_table_that_was_made_before_does_without_them_until_there_are_some(
    handlers: Handlers, rows: Rows, engine: Any
) -> None:
    await rows.do(WITHOUT_THE_COLUMN)
    none, some = uuid4(), uuid4()
    for _ in range(2):
        assert follow_ups(await run(handlers, none, children=0)) == ()
    assert follow_ups(await run(handlers, none, cancelled_after=0)) == ()
    refused = await run(handlers, some)
    assert isinstance(refused, DeadLetter)
    assert refused.error.type == "MarksMissing"
    assert "ALTER TABLE leveret_marks ADD COLUMN IF NOT EXISTS follow_ups bytea" in refused.error.message
    assert await rows.of(some) == 0
    await marks.create(rows.engine)
    assert len(follow_ups(await run(handlers, some))) == 2
    assert follow_ups(await run(handlers, none)) == ()


OURS = ["current_setting('lock_timeout'", "leveret_marks", "set_config('lock_timeout'"]
LAST = "set_config('idle_in_transaction_session_timeout'"
WHAT = re.compile(r"(?:SELECT|INSERT INTO|UPDATE) (\w+(?:\('\w+')?)")


@pytest.mark.parametrize(
    ("children", "after_the_last"),
    [pytest.param(0, [], id="none"), pytest.param(9, ["leveret_marks"], id="some")],
)
async def test_what_a_transaction_costs(
    engine: Any, handlers: Handlers, rows: Rows, children: int, after_the_last: list[str]
) -> None:
    """With nothing submitted, what it did before there were follow-ups: four statements of ours."""
    said: list[str] = []
    one, two = (next(job for job in iter(uuid4, None) if not marks.prunes(marks.Key(job, 1))) for _ in range(2))
    await run(handlers, one, children=0)  # the first one on a connection looks around
    event.listen(getattr(engine, "sync_engine", engine), "before_cursor_execute", lambda *words: said.append(words[2]))
    await run(handlers, two, children=children)
    assert [found[1] for one in said if (found := WHAT.match(one))] == [*OURS, "rows", LAST, *after_the_last]
    assert len(said) == 5 + len(after_the_last)


async def test_the_example_on_the_page_submits_what_it_says(
    database: Database, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DATABASE_URL", url_of("asyncpg", database).render_as_string(hide_password=False))
    await rows.do("CREATE TABLE items (n integer)")
    page: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[:2]:
        exec(block, page)  # noqa: S102
    job = uuid4()
    for _ in range(2):
        outcome = await run_attempt(page["handlers"], "order", {"rows": 3, "customer": "ada"}, job_id=job)
        told = [(one.queue, one.type, one.payload, one.run_at is None) for one in follow_ups(outcome)]
        assert told == [
            ("leveret.mails", "confirm", b'{"to":"ada"}', True),
            ("test.queue", "remind", b'{"to":"ada"}', False),
        ]
    assert await rows.ask("SELECT count(*) FROM items") == 3
    assert (
        json.loads(await rows.ask("SELECT convert_from(follow_ups, 'UTF8') FROM leveret_marks"))[0]["type"] == "confirm"
    )
    await page["engine"].dispose()
