"""Events that are published while the broker can't make their queue: what waits in the store is in the broker before the ack."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aio_pika
import msgspec
import pytest

from leveret import events, topology, wire
from leveret.events import JobEvent
from leveret.jobs import State
from leveret.rabbitmq.publisher import NotConfirmed
from leveret.topology import EVENTS, delay_exchange
from leveret_consumer import event_batches

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
RUNS = JobEvent(UUID(int=1), "t", State.RUNNING, NOON, "pod")


def waits(wait: timedelta) -> JobEvent:
    payload = msgspec.Raw(b'{"n": 1}')
    return JobEvent(
        UUID(int=2), "t", State.RETRYING, NOON, "pod", attempt=1, publish_at=NOON + wait, payload=payload, reply_to="r"
    )


class Publisher:
    def __init__(self, refuses: str = "") -> None:
        self.refuses, self.published = refuses, list[tuple[str, str, aio_pika.Message, bool]]()

    async def publish(
        self, exchange: str, key: str, message: aio_pika.Message, timeout: float, *, only_there: bool = False
    ) -> None:
        if exchange == self.refuses:
            raise NotConfirmed("full")
        self.published.append((exchange, key, message, only_there))


async def published(*batch: JobEvent, unmade: bool, publisher: Any) -> list[JobEvent]:
    await event_batches.publish(publisher, batch, "q", {EVENTS} if unmade else (), NOON)
    exchange, key, message, _ = publisher.published[0]
    assert (exchange, key) == (EVENTS, "job.q")
    _, told = events.decode(key, message.body)
    assert isinstance(told, list)
    return told


@pytest.mark.parametrize(
    ("batch", "only_there"), [((RUNS,), False), ((RUNS, waits(timedelta(hours=2))), True)], ids=["none", "one-waits"]
)
async def test_what_the_store_is_asked_to_publish_is_never_set_aside(
    batch: tuple[JobEvent, ...], only_there: bool
) -> None:
    publisher = Publisher()
    told = await published(*batch, unmade=False, publisher=publisher)
    assert [one.publish_at for one in told] == [one.publish_at for one in batch]
    assert [one[3] for one in publisher.published] == [only_there]


@pytest.mark.parametrize(
    ("wait", "exchange", "run_at"),
    [
        pytest.param(timedelta(seconds=100), delay_exchange(7), False, id="above-it"),
        pytest.param(timedelta(hours=2), delay_exchange(12), True, id="longer-than-the-last-level"),
        pytest.param(timedelta(0), topology.JOBS, False, id="over"),
    ],
)
async def test_while_events_are_set_aside_the_broker_has_it_wait(wait: timedelta, exchange: str, run_at: bool) -> None:
    publisher = Publisher()
    told = await published(RUNS, waits(wait), unmade=True, publisher=publisher)
    assert [(one.state, one.publish_at, bytes(one.payload)) for one in told] == [
        (State.RUNNING, None, b""),
        (State.RETRYING, None, b""),
    ]
    (aside, (to, key, message, _)) = publisher.published
    assert not aside[3]
    assert (to, key, message.body) == (exchange, "q", b'{"n": 1}')
    assert (message.message_id, message.headers[wire.ATTEMPT], message.reply_to) == (str(UUID(int=2)), 2, "r")
    assert (wire.RUN_AT in message.headers) == run_at


async def test_a_refused_event_has_published_no_next_attempt() -> None:
    """It is published again each second until it is taken."""
    publisher: Any = Publisher(refuses=EVENTS)
    with pytest.raises(NotConfirmed):
        await event_batches.publish(publisher, [waits(timedelta(hours=2))], "q", {EVENTS}, NOON)
    assert publisher.published == []
