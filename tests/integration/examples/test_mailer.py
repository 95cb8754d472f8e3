"""mailer whole, with real servers: mails under kills, a front without Leveret, and jobs that end where no handler tells it."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from containers import Server
from mailer_under_kills import QUEUE, Place, send
from processes import Start
from producers import Producer, known, operating, producing, ready

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
