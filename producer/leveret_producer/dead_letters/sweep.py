"""Take the messages out of a queue of dead letters that the store says are over, and leave the others as they are.

The queue hands its messages to one consumer at a time, in order. So all of them are looked at once: what is over is
acknowledged, the rest is held and given back at the end, where it takes its old place. If we are killed in between, the
broker gives back what we held. A job that the store does not know is told to it, as the recorder does.

A consumer gets no more than a few hundred messages that it has not answered, and what stays is not answered until the
end. So after a number that stay we subscribe anew, beside what we hold; that keeps the bodies in memory few.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq import spec
from aiormq.exceptions import ChannelNotFoundEntity

from leveret import topology
from leveret_producer.dead_letters.judging import Known, Verdict, judge, outlived
from leveret_producer.recorder.letters import dead_letter, shorten
from leveret_producer.recorder.merge import Report

PREFETCH = 200  # of at most 256 KiB each
FIRST, NEXT = 5.0, 2.0  # s until the first message, and until another, before it is over
LEFT = 0.02  # s; what came before a subscription ended is there by then

LookUp = Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, Known]]]
Tell = Callable[[Sequence[Report]], Awaitable[None]]
Inbox = asyncio.Queue[AbstractIncomingMessage | None]  # None: the broker ended the subscription


@dataclass(slots=True)
class Swept:
    """What a sweep came upon."""

    there: int  # messages, at the start
    seen: int = 0
    gone: int = 0
    told: int = 0  # of which the store did not know, or not everything

    @property
    def complete(self) -> bool:
        return self.seen >= self.there


@dataclass(frozen=True, slots=True)
class Sweep:
    """How to sweep: what the store says of jobs, how to tell it of some, the time, and for how long jobs are kept."""

    look_up: LookUp
    tell: Tell
    clock: Callable[[], datetime]
    retention: timedelta
    prefetch: int = PREFETCH

    async def run(self, connection: AbstractConnection, queue: str) -> Swept:
        """Go once through the dead letters of a queue.

        It ends with as many as were there at its start, or when nothing more comes, as when another consumer has them.
        Raises what the broker and the store raise; all that stays is given back then.
        """
        channel = await connection.channel(publisher_confirms=False)
        async with channel:
            there = await _count(channel, queue)
            swept = Swept(there or 0)
            if there:
                await self._go(channel, queue, swept)
            return swept

    async def _go(self, channel: AbstractChannel, queue: str, swept: Swept) -> None:
        underlay = await channel.get_underlay_channel()
        await channel.set_qos(prefetch_count=self.prefetch)
        source = await channel.get_queue(topology.dead_queue(queue), ensure=False)
        inbox: Inbox = asyncio.Queue()

        async def ended(_: spec.Basic.Cancel) -> None:
            inbox.put_nowait(None)

        async def arrived(message: AbstractIncomingMessage) -> None:
            shorten(message)
            inbox.put_nowait(message)

        underlay.on_consumer_cancel_callbacks.add(ended)
        last_tags: list[int] = []  # of each subscription: its messages go back together, and so keep their order
        while not swept.complete:
            before, tag = swept.seen, await source.consume(arrived)
            last_tags.append(await self._take(inbox, queue, swept, FIRST if last_tags == [] else NEXT))
            await source.cancel(tag)
            while rest := await _gather(inbox, LEFT, self.prefetch):
                await self._look_at(rest, queue, swept)
                last_tags[-1] = rest[-1].delivery_tag or 0
            if swept.seen == before:
                break
        for last in last_tags:
            if last:
                await underlay.basic_nack(last, multiple=True, requeue=True)

    async def _take(self, inbox: Inbox, queue: str, swept: Swept, patience: float) -> int:
        """Look at what one subscription brings, until it must be made anew or all is seen; return its last tag."""
        held = last_tag = 0
        while batch := await _gather(inbox, patience, self.prefetch // 2):
            held += await self._look_at(batch, queue, swept)
            last_tag, patience = batch[-1].delivery_tag or 0, NEXT
            if swept.complete or held >= self.prefetch // 2:
                break
        return last_tag

    async def _look_at(self, batch: Sequence[AbstractIncomingMessage], queue: str, swept: Swept) -> int:
        """Acknowledge what is over; return how many stay."""
        now = self.clock()
        reports = [dead_letter(message, now) for message in batch]
        known = await self.look_up([report.event.id for report in reports])
        verdicts = [self._verdict(queue, report, known.get(report.event.id), now) for report in reports]
        unknown = [report for report, verdict in zip(reports, verdicts, strict=True) if verdict is Verdict.UNKNOWN]
        if unknown:
            await self.tell(unknown)
        gone = [message for message, verdict in zip(batch, verdicts, strict=True) if verdict is Verdict.GONE]
        for message in gone:
            await message.ack()
        swept.seen += len(batch)
        swept.gone += len(gone)
        swept.told += len(unknown)
        return len(batch) - len(gone)

    def _verdict(self, queue: str, report: Report, known: Known | None, now: datetime) -> Verdict:
        event = report.event
        if report.queue != queue:
            return Verdict.STAYS  # somebody published it here by hand: whose it is can't be said
        old = outlived(event.id, event.submitted_at, now, self.retention)
        verdict = judge(queue, event.generation, known, old=old)
        has_more = known is None or (report.letter is not None and report.letter.keeps_body)
        return verdict if verdict is not Verdict.UNKNOWN or has_more else Verdict.STAYS


async def _count(channel: AbstractChannel, queue: str) -> int | None:
    """Return how many messages wait in the queue of dead letters; None if there is no such queue."""
    try:
        found = await channel.declare_queue(topology.dead_queue(queue), passive=True)
    except ChannelNotFoundEntity:
        return None
    return found.declaration_result.message_count


async def _gather(inbox: Inbox, seconds: float, most: int) -> list[AbstractIncomingMessage]:
    """Return what has come, having waited at most so long for the first; none when no more will."""
    try:
        async with asyncio.timeout(seconds):
            first = await inbox.get()
    except TimeoutError:
        return []
    found = []
    while first is not None:
        found.append(first)
        if len(found) == most or inbox.empty():
            break
        first = inbox.get_nowait()
    return found
