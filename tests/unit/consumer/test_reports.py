"""Events in batches: how many messages, in which order, and what waits for a confirm."""

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

import msgspec
import pytest

from leveret import events
from leveret.events import JobEvent, Progress
from leveret.jobs import Envelope, State
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import NotConfirmed
from leveret_consumer import reports
from leveret_consumer.job_events import Telling
from leveret_consumer.reports import PublishBatch, Reports, Unreportable

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


def event(number: int, result: bytes = b"null") -> JobEvent:
    return JobEvent(UUID(int=number), "t", State.SUCCEEDED, NOON, "pod", result=msgspec.Raw(result))


class Broker:
    """Confirms when it's told to; refuses first if asked."""

    def __init__(self, *, confirms: bool = True, refuses: int = 0) -> None:
        self.batches: list[list[int]] = []
        self.largest = 0  # bytes
        self.published: asyncio.Queue[None] = asyncio.Queue()
        self.confirm = asyncio.Event()
        self.refuses = refuses
        if confirms:
            self.confirm.set()

    async def publish(self, batch: list[JobEvent], queue: str | None = None) -> None:
        if self.refuses:
            self.refuses -= 1
            raise NotConfirmed("refused")
        self.batches.append([one.id.int for one in batch])
        self.largest = max(self.largest, len(events.encode(batch)))
        self.published.put_nowait(None)
        await self.confirm.wait()


async def serving(broker: Broker | PublishBatch, use: Callable[[Reports], Awaitable[None]]) -> None:
    served = Reports()
    running = asyncio.create_task(served.run(broker.publish if isinstance(broker, Broker) else broker))
    await asyncio.sleep(0)
    try:
        await asyncio.wait_for(use(served), 60)
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
    assert broker.largest < 2 * 1024 * 1024, "what the broker must take, says the page of guarantees"


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
            await asyncio.wait_for(broker.published.get(), 30)
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
    await asyncio.wait_for(first.published.get(), 30)
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


class Slow:
    """Notes whole events; each batch is confirmed when it's told to be."""

    def __init__(self) -> None:
        self.events: list[JobEvent] = []
        self.on_its_way, self.confirm = asyncio.Event(), asyncio.Event()

    async def publish(self, batch: list[JobEvent], queue: str | None = None) -> None:
        self.on_its_way.set()
        await self.confirm.wait()
        self.events += batch

    def of(self, number: int) -> list[tuple[str, float | None]]:
        own = [one for one in self.events if one.id.int == number]
        return [(str(one.state), one.progress.done if one.progress else None) for one in own]


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_of_progress_for_an_hour_without_a_confirm_the_latest_of_each_job_is_kept() -> None:
    """All of it was kept in memory: 34,400 events after an hour of ten jobs."""
    broker = Slow()
    now = NOON

    async def use(served: Reports) -> None:
        nonlocal now
        jobs = [Envelope(UUID(int=number), "q", "t", b"{}") for number in range(10)]
        telling = [Telling(job, "pod", NOON, 5, lambda: now) for job in jobs]
        for one in telling:
            served.tell(one.start())

        async def report(seconds: range) -> None:
            nonlocal now
            for second in seconds:
                now = NOON + timedelta(seconds=second)
                for one in telling:
                    served.tell(one.progress(Progress(second, 3600)))
                await asyncio.sleep(0)

        await report(range(60))
        await broker.on_its_way.wait()
        tracemalloc.start()
        await report(range(60, 360))
        soon = tracemalloc.get_traced_memory()[0]
        await report(range(360, 3600))
        late = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert late - soon < 50_000, "bytes, and an event has 500"
        ends = [asyncio.create_task(served.confirmed(event(number))) for number in range(10)]
        await turns()
        broker.confirm.set()
        await asyncio.gather(*ends)

    await serving(broker.publish, use)
    for number in range(10):
        told = broker.of(number)
        assert (told[0], told[-2:]) == (("running", None), [("running", 3599), ("succeeded", None)])
        assert told[1:-1] == sorted(told[1:-1], key=lambda one: one[1] or 0)
    assert len(broker.events) < 10 * (reports.MOST_IN_FLIGHT + 4)
    latest = [one for one in broker.events if one.progress and one.progress.done == 3599]
    assert {one.at for one in latest} == {NOON + timedelta(seconds=3599)}, "the time when it was reported"


async def test_only_progress_of_the_same_attempt_is_replaced_and_what_is_told_stays_in_order() -> None:
    broker = Slow()

    def running(done: float | None = None, **fields: Any) -> JobEvent:
        progress = None if done is None else Progress(done, None)
        return JobEvent(UUID(int=1), "t", State.RUNNING, NOON, "pod", progress=progress, **fields)

    async def use(served: Reports) -> None:
        served.tell(running())
        served.tell(running(1))
        served.tell(running(2, delivery=1))
        served.tell(running(3, attempt=2))
        served.tell(running(4, generation=2))
        served.tell(running())  # anything else is told as often as it comes
        served.tell(running(5))
        served.tell(running(6, attempt=2))
        served.tell(event(1))
        served.tell(event(1))
        broker.confirm.set()
        await served.flush()
        await served.confirmed(event(2))

    await serving(broker.publish, use)
    values = [None, 5, 2, 6, 4, None]
    assert broker.of(1) == [("running", value) for value in values] + [("succeeded", None)] * 2


async def test_progress_that_is_on_its_way_is_not_replaced_and_none_outlives_its_connection() -> None:
    broker = Slow()
    first = JobEvent(UUID(int=1), "t", State.RUNNING, NOON, "pod", progress=Progress(1, None))
    served = Reports()
    running = asyncio.create_task(served.run(broker.publish))
    await asyncio.sleep(0)
    served.tell(first)
    await broker.on_its_way.wait()
    for done in (2, 3):
        served.tell(msgspec.structs.replace(first, progress=Progress(done, None)))
    broker.confirm.set()
    await served.confirmed(event(1))
    assert broker.of(1) == [("running", 1), ("running", 3), ("succeeded", None)]
    broker.confirm.clear()
    served.tell(first)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    again = asyncio.create_task(served.run(broker.publish))
    await asyncio.sleep(0)
    broker.confirm.set()
    served.tell(msgspec.structs.replace(first, progress=Progress(9, None)))
    await served.confirmed(event(2))
    assert broker.of(1)[3:] == [("running", 9)]
    again.cancel()


@pytest.mark.parametrize("bad", [Fraction(1, 2), object()], ids=["a fraction", "anything"])
async def test_an_event_that_can_not_be_written_is_left_out_and_who_waits_for_it_is_told(bad: Any) -> None:
    broker = Broker()

    async def publish(batch: list[JobEvent], queue: str | None) -> None:
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
    async def publish(batch: list[JobEvent], queue: str | None) -> None:
        raise ValueError("of its own")

    served = Reports()
    running = asyncio.create_task(served.run(publish))
    await asyncio.sleep(0)
    waits = asyncio.create_task(served.confirmed(event(1)))
    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await asyncio.wait_for(running, 60)
    with pytest.raises(BrokerGone):
        await waits


class Confirmed:
    """Who is told, and waits for nothing."""

    def __init__(self) -> None:
        self.told: list[Exception | None] = []

    def done(self) -> bool:
        return bool(self.told)

    def set_result(self, result: None) -> None:
        self.told.append(result)

    def set_exception(self, problem: Exception) -> None:
        self.told.append(problem)


async def test_who_hands_an_event_on_is_told_of_its_confirm_or_of_what_keeps_it_from_that() -> None:
    broker, well, lost, bad, late = Broker(confirms=False), Confirmed(), Confirmed(), Confirmed(), Confirmed()
    unwritten = msgspec.structs.replace(event(2), run_seconds=object())

    async def use(served: Reports) -> None:
        served.hand_on(event(1), well)
        served.hand_on(unwritten, bad)
        await asyncio.sleep(0.05)
        assert (well.told, [type(one) for one in bad.told]) == ([], [Unreportable])
        broker.confirm.set()
        await served.flush()
        broker.confirm.clear()
        served.hand_on(event(3), lost)
        await asyncio.sleep(0.05)

    async def publish(batch: list[JobEvent], queue: str | None) -> None:
        events.encode(batch)
        await broker.publish(batch)

    await serving(publish, use)
    assert (well.told, [type(one) for one in lost.told]) == ([None], [BrokerGone])
    Reports().hand_on(event(4), late)
    assert [type(one) for one in late.told] == [BrokerGone]


async def test_what_is_told_in_time_is_made_as_its_batch_is_written_if_there_is_still_something_to_tell() -> None:
    broker = Broker()
    wanted = [True, False, True]

    def made(number: int) -> Callable[[], JobEvent | None]:
        return lambda: event(number) if wanted[number] else None

    async def use(served: Reports) -> None:
        for number in range(3):
            served.tell_in_time(made(number))
        wanted[:2] = [False, True]
        await served.confirmed(event(9))

    await serving(broker, use)
    assert broker.batches == [[1, 2, 9]]
