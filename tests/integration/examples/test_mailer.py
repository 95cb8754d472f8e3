"""mailer whole, with real servers: mails under kills, a front without Leveret, and jobs that end where no handler tells it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from containers import Server, free_port
from mailer_under_kills import QUEUE, Place, Stage, send
from processes import Start
from producers import TOKEN, Producer, eventually_true, known, operating, producing, ready
from redrives import dead_letters, redrive

from examples.mailer.store import Store
from examples.mailer.sweep import Sweeper
from leveret.client import AsyncClient
from leveret.client.outbox import Relay
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


async def test_a_redrive_sends_again_what_may_have_been_sent_or_was_refused_and_a_redelivery_does_not(
    leveret: Producer, postgres: Server, broker: Broker, kept: str, start: Start, tmp_path: Path
) -> None:
    stage = Stage(Place(start, postgres, broker, str(leveret.http.base_url), kept, tmp_path))
    async with stage.http() as front:

        async def sent(mode: str) -> str:
            await stage.tell("smtp-0", mode=mode, times=1)
            await eventually_true(is_up, "the front answers")
            answer = await front.post("/emails", json={"to": "a@example.com", "subject": mode, "body": "Hello"})
            return str(answer.raise_for_status().json()["id"])

        async def is_up() -> bool:
            try:
                return (await front.get("/readyz")).is_success
            except httpx.TransportError:
                return False

        async def becomes(mail: str, state: str, times: int) -> dict[str, Any]:
            async def has_become() -> bool:
                seen.update((await front.get(f"/emails/{mail}")).json())
                copies = sum(log.read_text().count(seen["message_id"]) for log in tmp_path.glob("smtp-*.jsonl"))
                return (seen["state"], copies) == (state, times)

            seen: dict[str, Any] = {}
            await eventually_true(has_become, f"{mail} is {state}, and there {times} times")
            return seen

        async def letter_of(mail: str) -> dict[str, Any]:
            async def is_there() -> bool:
                found[:] = [one for one in await dead_letters(leveret, QUEUE) if one["payload"] == {"id": mail}]
                return bool(found)

            found: list[dict[str, Any]] = []
            await eventually_true(is_there, f"{mail} is a dead letter")
            return found[0]

        doubtful = await sent("drop")
        seen = await becomes(doubtful, "maybe-sent", 1)
        letter = await letter_of(doubtful)
        assert (letter["reason"], letter["error"]["message"]) == ("Rejected", seen["error"])
        refused = await sent("refuse")
        assert "550" in (await becomes(refused, "failed", 0))["error"]

        await stage.tell("smtp-0", mode="silent", times=1)
        await redrive(leveret, QUEUE, letter["id"])
        seen = await becomes(doubtful, "queued", 2)  # the server took it, and its consumer is killed before it hears so
        assert (seen["attempts"], seen["error"]) == (0, None), "another generation begins anew"
        await asyncio.gather(*(stage.kill(f"consumer-{n}", 0) for n in range(2)))
        await redrive(leveret, QUEUE, (await letter_of(refused))["id"])
        assert (await becomes(refused, "sent", 1))["error"] is None
        assert "its run ended before" in (await becomes(doubtful, "maybe-sent", 2))["error"]

        letter = await letter_of(doubtful)
        assert letter["generation"] == 2
        await redrive(leveret, QUEUE, letter["id"])
        assert (await becomes(doubtful, "sent", 3))["error"] is None
    rows = await sql(
        kept, "SELECT generation, state FROM sendings WHERE email = $1 ORDER BY generation", UUID(doubtful)
    )
    assert [tuple(row) for row in rows] == [(1, "maybe-sent"), (2, "maybe-sent"), (3, "sent")]
    assert await sql(kept, "SELECT FROM emails WHERE next_look IS NOT NULL") == []


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
    url = str(leveret.http.base_url)
    async with AsyncClient(url, TOKEN) as client:
        sweeper = Sweeper(store, client)
        await sql(kept, "UPDATE emails SET next_look = now()")
        assert await sweeper.sweep() == 0, "its job is not sent yet"
        first = await submitted(leveret, store, url, kept)
        # As of an older front, which was killed before it wrote down what it had submitted.
        await sql(kept, "UPDATE emails SET job = NULL")
        assert await sweeper.sweep() == 1
        assert await submitted(leveret, store, url, kept) != first
        assert (mail := await store.take_up(id, first, 1))
        assert mail.owner != first, "it has one job, and the other sends nothing"
        assert await sweeper.sweep() == 0, "its turn comes again in a minute"
        await sql(kept, "UPDATE emails SET next_look = now()")
        assert await sweeper.sweep() == 1
        assert dict(await store.view(id) or {})["state"] == "queued", "its job goes on"
        await sql(kept, "UPDATE emails SET next_look = now(), job = $1", uuid4())
        await sweeper.sweep()
    ended = dict(await store.view(id) or {})
    assert (ended["state"], ended["error"]) == ("failed", "its job was removed from Leveret before the mail was sent")
    assert await sql(kept, "SELECT FROM emails WHERE next_look IS NOT NULL") == []
    await store.close()


async def submitted(leveret: Producer, store: Store, url: str, kept: str) -> UUID:
    """Return the job of the only mail, once a relay has sent it."""

    async def is_sent() -> bool:
        return await sql(kept, "SELECT FROM leveret_outbox") == []

    async with Relay(store, url, TOKEN):
        await eventually_true(is_sent, "it is submitted")
    ((job,),) = await sql(kept, "SELECT job FROM emails")
    assert (await leveret.job(str(job)))["type"] == "send-email"
    return UUID(str(job))


@pytest.mark.parametrize(("before", "after"), [("queued", "failed"), ("sending", "maybe-sent"), ("sent", "sent")])
async def test_a_job_that_ends_where_no_handler_tells_it_ends_its_mail(kept: str, before: str, after: str) -> None:
    store, id, job = Store(kept), uuid4(), uuid4()  # noqa: A001
    await store.add(id, "<x@example.com>", ["a@example.com"], "Hello", "Hello")
    await sql(kept, "DELETE FROM leveret_outbox")  # a relay has sent it
    await sql(kept, "UPDATE emails SET job = $1", job)
    await store.take_up(id, job, 2)
    await sql(kept, "UPDATE sendings SET state = $1", before)
    # A generation before that was killed as it sent, and redriven before anybody had seen that.
    await sql(kept, "INSERT INTO sendings (job, generation, email, state) VALUES ($1, 1, $2, 'sending')", job, id)
    await sql(kept, "UPDATE emails SET next_look = now()")
    (mail,) = await store.open()
    assert (mail.job, mail.generation) == (job, 2)
    await store.ended_elsewhere(mail, "Delivery\0Limit\udcff")
    assert dict(await store.view(id) or {})["state"] == after
    assert await sql(kept, "SELECT FROM emails WHERE next_look IS NOT NULL") == []
    await store.close()
