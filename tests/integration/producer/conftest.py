"""What several files of these tests share."""

from collections.abc import AsyncIterator

import pytest
from cancel_world import World

from leveret.settings import Database
from leveret_producer.store.migrate import migrate
from leveret_producer.store.postgres import Postgres


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    postgres = Postgres(lambda: database, connections=6, name="test")
    await migrate(postgres)
    yield World(postgres)
    await postgres.close()
