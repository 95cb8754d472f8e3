"""Events in batches: how many messages, in which order, and what waits for a confirm."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any
from uuid import UUID

import msgspec
import pytest

from leveret import events
from leveret.events import JobEvent, Progress
from leveret.jobs import State
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import NotConfirmed
from leveret_consumer import reports
from leveret_consumer.reports import Publish, Reports, Unreportable

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


def event(number: int, result: bytes = b"null") -> JobEvent:
    return JobEvent(UUID(int=number), "t", State.SUCCEEDED, NOON, "pod", result=msgspec.Raw(result))


class Broker:
    """Confirms when it's told to; refuses first if asked."""

    def __init__(self, *, confirms: bool = True, refuses: int = 0) -> None:
        self.batches: list[list[int]] = []
        self.published: asyncio.Queue[None] = asyncio.Queue()
        self.confirm = asyncio.Event()
        self.refuses = refuses
        if confirms:
            self.confirm.set()

    async def publish(self, batch: list[JobEvent]) -> None:
        if self.refuses:
            self.refuses -= 1
            raise NotConfirmed("refused")
        self.batches.append([one.id.int for one in batch])
        self.published.put_nowait(None)
        await self.confirm.wait()


async def serving(broker: Broker | Publish, use: Callable[[Reports], Awaitable[None]]) -> None:
    served = Reports()
    running = asyncio.create_task(served.run(broker.publish if isinstance(broker, Broker) else broker))
    await asyncio.sleep(0)
    try:
        await asyncio.wait_for(use(served), 10)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_comes_together_goes_together_and_in_order() -> None:
    broker = Broker()

    async def use(served: Reports) -> None:
        for number in range(450):
            served.tell(event(number))
        await served.confirmed(event(450))
        await served.flush()

    await serving(broker, use)
    assert [len(batch) for batch in broker.batches] == [200, 200, 51]
    assert [number for batch in broker.batches for number in batch] == list(range(451))


async def test_large_results_go_in_smaller_batches() -> None:
    broker = Broker()

    async def use(served: Reports) -> None:
        for number in range(10):
            served.tell(event(number, b'"' + b"x" * 256 * 1024 + b'"'))
        await served.flush()
        await served.confirmed(event(10))

    await serving(broker, use)
    assert [len(batch) for batch in broker.batches][:3] == [3, 3, 3]
    assert reports.LARGEST_BATCH < 16 * 1024 * 1024


async def test_an_event_larger_than_a_batch_goes_alone() -> None:
    broker = Broker()

    async def use(served: Reports) -> None:
        await served.confirmed(event(1, b'"' + b"x" * 2 * reports.LARGEST_BATCH + b'"'))

    await serving(broker, use)
    assert broker.batches == [[1]]


async def test_confirmed_waits_for_the_confirm_and_tell_does_not() -> None:
    broker = Broker(confirms=False)

    async def use(served: Reports) -> None:
        served.tell(event(1))
        waiting = asyncio.create_task(served.confirmed(event(2)))
        done, _ = await asyncio.wait({waiting}, timeout=0.05)
        assert not done
        broker.confirm.set()
        await waiting

    await serving(broker, use)


async def test_later_batches_do_not_wait_for_the_confirm_of_earlier_ones() -> None:
    broker = Broker(confirms=False)

    async def use(served: Reports) -> None:
        waiting = []
        for number in range(3):
            waiting.append(asyncio.create_task(served.confirmed(event(number))))
            await asyncio.wait_for(broker.published.get(), 5)
        broker.confirm.set()
        await asyncio.gather(*waiting)

    await serving(broker, use)
    assert broker.batches == [[0], [1], [2]]


async def test_what_the_broker_refuses_is_sent_again() -> None:
    broker = Broker(refuses=1)

    async def use(served: Reports) -> None:
        await served.confirmed(event(1))

    await serving(broker, use)
    assert broker.batches == [[1]]


async def test_a_lost_connection_is_told_to_those_who_wait_and_the_next_one_starts_empty() -> None:
    served = Reports()
    first = Broker(confirms=False)
    running = asyncio.create_task(served.run(first.publish))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(served.confirmed(event(1)))
    await asyncio.wait_for(first.published.get(), 5)
    running.cancel()
    with pytest.raises(BrokerGone, match="before the event was confirmed"):
        await waiting
    served.tell(event(2))
    with pytest.raises(BrokerGone, match="not connected"):
        await served.confirmed(event(3))
    second = Broker()
    again = asyncio.create_task(served.run(second.publish))
    await asyncio.sleep(0)
    await served.confirmed(event(4))
    again.cancel()
    assert second.batches == [[4]]


@pytest.mark.parametrize("bad", [Fraction(1, 2), object()], ids=["a fraction", "anything"])
async def test_an_event_that_can_not_be_written_is_left_out_and_who_waits_for_it_is_told(bad: Any) -> None:
    broker = Broker()

    async def publish(batch: list[JobEvent]) -> None:
        events.encode(batch)  # as a session does
        await broker.publish(batch)

    async def use(served: Reports) -> None:
        served.tell(msgspec.structs.replace(event(1), progress=Progress(bad, None)))
        neighbour = asyncio.create_task(served.confirmed(event(2)))
        waits = asyncio.create_task(served.confirmed(msgspec.structs.replace(event(3), progress=Progress(bad, None))))
        await neighbour
        with pytest.raises(Unreportable, match="can't be written as JSON: TypeError"):
            await waits
        await served.confirmed(event(4))
        await served.flush()

    await serving(publish, use)
    assert broker.batches == [[2], [4]]


async def test_what_publishing_itself_raises_is_no_events_fault() -> None:
    async def publish(batch: list[JobEvent]) -> None:
        raise ValueError("of its own")

    served = Reports()
    running = asyncio.create_task(served.run(publish))
    await asyncio.sleep(0)
    waits = asyncio.create_task(served.confirmed(event(1)))
    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await asyncio.wait_for(running, 10)
    with pytest.raises(BrokerGone):
        await waits
