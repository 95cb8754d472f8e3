"""The largest bodies on a real PostgreSQL: while they are stored the loop turns, too."""

from collections.abc import AsyncIterator

import pytest
from pretended_server import Server
from standing import turns

from leveret.settings import Database
from leveret_producer.store.migrate import migrate
from leveret_producer.store.postgres import Postgres
from leveret_producer.submission import MOST_BODY

BODIES = {
    "ten thousand jobs": (b'{"type":"t","payload":"%b"}' % (b"a" * 800), 10_000),
    "few and large": (b'{"type":"t","payload":["%b"]}' % ("\U0001f407".encode() * 60_000), 34),
    "nothing in them": (b'{"type":"t","payload":1}', 10_000),
}


@pytest.fixture
async def postgres(database: Database) -> AsyncIterator[Postgres]:
    made = Postgres(lambda: database, connections=2, name="test")
    await migrate(made)
    yield made
    await made.close()


@pytest.mark.parametrize(("one", "number"), BODIES.values(), ids=BODIES.keys())
async def test_the_loop_turns_while_the_largest_bodies_are_stored(postgres: Postgres, one: bytes, number: int) -> None:
    body, server = b"[" + b",".join([one] * number) + b"]", Server(postgres=postgres)
    assert len(body) <= MOST_BODY

    async def post() -> None:
        status, document, _ = await server.call(body)
        assert (status, len(document["jobs"])) == (202, number)

    await turns(post)
