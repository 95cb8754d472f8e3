"""mailer whole, with real servers: mails under kills, a front without Leveret, and jobs that end where no handler tells it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from containers import Server, free_port
from mailer_under_kills import QUEUE, Place, send
from processes import Start
from producers import TOKEN, Producer, eventually_true, known, operating, producing, ready

from examples.mailer.store import Store
from examples.mailer.sweep import Sweeper
from leveret.client import AsyncClient
from leveret.settings import Broker, Database


@pytest.fixture
async def leveret(broker: Broker, database: Database) -> AsyncIterator[Producer]:
    async with operating(broker, QUEUE), producing(broker, database) as producer:
        await ready(producer)
        await known(producer, QUEUE)
        yield producer


async def test_of_300_mails_under_kills_each_is_there_once_or_named_as_maybe_sent(
    leveret: Producer, postgres: Server, broker: Broker, kept: str, start: Start, tmp_path: Path
) -> None:
    found = await send(
        Place(start, postgres, broker, str(leveret.http.base_url), kept, tmp_path), mails=300, rounds=1, seconds=1
    )
    assert found.wrong == []
    assert len(found.states) == 300
    assert Counter(found.states.values())["sent"] > 250, found.maybe_sent


async def sql(url: str, text: str, *values: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(text, *values))
    finally:
        await connection.close()


async def test_mails_that_were_taken_while_leveret_was_away_are_submitted_once_when_the_front_is_gone(
    leveret: Producer, kept: str, start: Start
) -> None:
    port = free_port()
    away = {"LEVERET_URL": "http://127.0.0.1:1", "LEVERET_TOKEN": "token"}
    doomed = start("examples.mailer.front", DATABASE_URL=kept, PORT=str(port), **away)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as front:

        async def answers() -> bool:
            try:
                return (await front.get("/readyz")).is_success
            except httpx.TransportError:
                return False

        await eventually_true(answers, "the front answers")
        taken = await front.post("/emails", json={"to": "a@example.com", "subject": "Hello", "body": "Hello"})
        assert taken.status_code == 202
        id = UUID(taken.json()["id"])  # noqa: A001
        assert taken.headers["location"] == f"/emails/{id}"
        seen = (await front.get(f"/emails/{id}")).json()
        assert seen == {
            "id": str(id), "state": "queued", "backend": None, "attempts": 0, "message_id": f"<{id}@example.com>", "error": None,
        }  # fmt: skip
        assert (await front.get(f"/emails/{uuid4()}")).status_code == 404
    doomed.kill()
    await asyncio.to_thread(doomed.wait)
    store = Store(kept)
    async with AsyncClient(str(leveret.http.base_url), TOKEN) as client:
        sweeper, jobs = Sweeper(store, client, QUEUE), set()
        for _ in range(2):  # and the second time what the first wrote down is lost
            await sql(kept, "UPDATE emails SET next_look = now(), job = NULL")
            assert await sweeper.sweep() == 1
            jobs.add((await sql(kept, "SELECT job FROM emails"))[0]["job"])
        assert len(jobs) == 1
        assert (await leveret.job(str(jobs.pop())))["type"] == "send-email"
        assert await sweeper.sweep() == 0, "its turn comes again in a minute"
        await sql(kept, "UPDATE emails SET next_look = now()")
        await sweeper.sweep()
        assert dict(await store.view(id) or {})["state"] == "queued", "its job goes on"
        await sql(kept, "UPDATE emails SET next_look = now(), job = $1", uuid4())
        await sweeper.sweep()
    ended = dict(await store.view(id) or {})
    assert (ended["state"], ended["error"]) == ("failed", "its job was removed from Leveret before the mail was sent")
    assert await sql(kept, "SELECT FROM emails WHERE next_look IS NOT NULL") == []
    await store.close()


@pytest.mark.parametrize(("before", "after"), [("queued", "failed"), ("sending", "maybe-sent"), ("sent", "sent")])
async def test_a_job_that_ends_where_no_handler_tells_it_ends_its_mail(kept: str, before: str, after: str) -> None:
    store, id, job = Store(kept), uuid4(), uuid4()  # noqa: A001
    await store.add(id, "<x@example.com>", ["a@example.com"], "Hello", "Hello")
    await store.take_up(id, job, 2)
    await sql(kept, "UPDATE sendings SET state = $1", before)
    await sql(kept, "UPDATE emails SET next_look = now()")
    (mail,) = await store.open()
    assert (mail.job, mail.generation) == (job, 2)
    await store.ended_elsewhere(mail, "DeliveryLimit")
    assert dict(await store.view(id) or {})["state"] == after
    await store.close()
