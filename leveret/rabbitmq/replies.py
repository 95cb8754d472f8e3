"""Answer who submitted a job and named a queue for the reply; a queue that takes none must hold up nobody.

The broker confirms a reply within milliseconds, and so long whoever sends it waits: a crash repeats it and does not lose
it. It's not mandatory: a client that is gone is no error. What has no answer by then is waited for by few: for 10 s, or for
1 s where the address has failed before. Who finds no place leaves the reply to itself; it may still arrive. So many may be
under way; the next one waits for room, and its delivery with it, and is dropped only once nobody makes any. Waiting for a
turn is no fault: counted is only the time since a reply came nearer to its turn, and in it none in which the broker answers
nobody at all. However many call at once, each has its reply, as slowly as the broker takes them.

A broker that asks a hung queue answers nothing else on that channel, for a minute or more a message. So replies have
channels of their own, never that of copies and events; one that is stuck is not used until something is answered on it; and
what goes to addresses that failed goes over the last one. The broker stops reading a whole connection once some 400
messages wait on one channel: there are never half as many.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import aio_pika
import structlog

from leveret.ending import end
from leveret.rabbitmq.connection import BrokerErrors, BrokerGone
from leveret.rabbitmq.failed_addresses import FailedAddresses
from leveret.rabbitmq.publisher import NotConfirmed
from leveret.rabbitmq.reply_drops import Dropped, reason_of
from leveret.rabbitmq.reply_lane import Lane, Opens, Reply
from leveret.rabbitmq.reply_room import TICK, Room
from leveret.reply import may_reply_to

log = structlog.get_logger(__name__)

BRIEFLY = 0.05  # s that every reply is waited for
# s without an answer, while others had some; a reply to an address that failed before is given up then
STUCK_AFTER = 1.0
DROPPED_AFTER = 10.0  # s without an answer; any other is
# s in which nobody makes room; for an address that hangs it's once a minute, and leaves others nine tenths of the time.
CROWDED_AFTER = 5.0
STANDS_AFTER = 60.0  # s in which the broker answers nobody
PAUSES = (0.1, 0.5)  # s after a refusal; then it's dropped
LANES = 4  # channels


_ALWAYS = itertools.count().__next__


class Replies:
    """Over one connection."""

    def __init__(
        self,
        opens: Opens,
        dropped: Callable[[Dropped, str], None],
        *,
        places: Callable[[], int],
        others: Callable[[], int] = _ALWAYS,
        patience: Callable[[float], AbstractAsyncContextManager[object]] = asyncio.timeout,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """`dropped` counts, of a queue; `places` is how many may be waited for; `others` rises with what else the
        broker confirms on the connection; `patience` is a time-out without alarms."""
        self._dropped, self._places, self._others = dropped, places, others
        self._patience, self._pauses = patience, pauses
        self._lanes = [Lane(opens) for _ in range(LANES)]
        now = asyncio.get_running_loop().time
        self._failed, self._said = FailedAddresses(now), FailedAddresses(now)
        self._given_up: set[Reply] = set()  # and not answered yet
        self._sending: dict[asyncio.Task[bool], Reply] = {}
        self._watches: set[asyncio.Task[Any]] = set()
        self._room = Room()  # for the watched ones
        self._waiting = 0

    async def send(self, address: str, message: aio_pika.Message, *, job: str, queue: str = "") -> bool:
        """Publish a reply; tell whether the broker has confirmed it by the time that it was waited for."""
        if not may_reply_to(address):
            self._tell(Dropped.NOT_ALLOWED, address, job, queue)
            return False
        failed = address in self._failed or any(one.address == address for one in self._given_up)
        has_room = self._room.take(address) or (not failed and await self._finds_room(address))
        if not has_room or (lane := self._lane(address, failed_before=failed)) is None:
            if has_room:
                self._room.let_go(address)
            self._tell(Dropped.CROWDED, address, job, queue)
            return False
        reply = Reply(address, message, job, queue, lane, failed, asyncio.get_running_loop().create_future())
        sending = asyncio.create_task(self._publish(reply))
        self._sending[sending] = reply
        sending.add_done_callback(self._sent)
        if not failed:
            either: set[asyncio.Future[Any]] = {sending, reply.refused}
            await asyncio.wait(either, timeout=BRIEFLY, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            return _confirmed(sending)
        watch = asyncio.create_task(self._watch(reply, sending))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        if self._waiting >= self._places():
            return False
        self._waiting += 1
        try:
            await asyncio.wait({watch})
        finally:
            self._waiting -= 1
        return _confirmed(watch)

    async def finish(self, within: float) -> None:
        """Before the connection is closed: wait so long for what is under way; the rest counts as dropped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while some := [sending for sending, reply in self._sending.items() if not reply.dropped]:
                    await asyncio.wait(some)
        await end([*self._watches, *self._sending])

    async def _finds_room(self, address: str) -> bool:
        """Wait for it while the broker answers those before: they are many, and nothing is wrong."""
        if await self._room.wait(address, CROWDED_AFTER, lambda: address in self._failed, self._others):
            return True
        if self._room.is_full_of(address):
            self._failed.note(address)  # so that nobody else waits as long
        return False

    def _sent(self, sending: "asyncio.Task[bool]") -> None:
        self._leave_room(self._sending.pop(sending))

    def _leave_room(self, reply: Reply) -> None:
        if reply.in_room:
            reply.in_room = False
            self._room.let_go(reply.address)

    def _lane(self, address: str, *, failed_before: bool) -> Lane | None:
        """One on which replies are answered; for an address that may hang that on which it does, so that it's only one."""
        lanes = self._lanes[-1:] if failed_before else self._lanes[:-1]
        stuck = None if failed_before else self._stuck_at(address)
        return stuck or next((lane for lane in lanes if not lane.stuck), None)

    def _stuck_at(self, address: str) -> Lane | None:
        return next((lane for lane in self._lanes[:-1] if lane.stuck and lane.waits_for(address)), None)

    async def _publish(self, reply: Reply) -> bool:
        because, reason = "", Dropped.REFUSED
        try:
            for pause in (0.0,) if reply.failed_before else (*self._pauses, 0.0):
                try:
                    await reply.lane.publish(reply)
                except (NotConfirmed, *BrokerErrors, ValueError) as problem:  # the last: a name that can't be written
                    because, reason = f"{type(problem).__name__}: {problem}", reason_of(problem)
                    if reply.dropped:
                        break
                    if not reply.refused.done():
                        reply.refused.set_result(None)
                    await asyncio.sleep(pause)
                else:
                    self._failed.forget(reply.address)
                    return True
        except BrokerGone as problem:
            because, reason = str(problem), Dropped.UNCONFIRMED
        except asyncio.CancelledError:  # by the client library, too, with its connection
            self._drop(reply, Dropped.UNCONNECTED)
            raise
        finally:
            self._given_up.discard(reply)
        self._drop(reply, reason, because=because)
        if reason is not Dropped.UNCONNECTED:
            self._failed.note(reply.address)
        return False

    async def _watch(self, reply: Reply, sending: "asyncio.Task[bool]") -> bool:
        """See to what has no answer, until it's given up."""
        lane, address = reply.lane, reply.address
        if await self._answered_beside_others(reply, sending, STUCK_AFTER, DROPPED_AFTER):
            return _confirmed(sending)
        # One that answers others is not stuck; nor is one that is still being opened.
        lane.stuck = bool(lane.unanswered) and lane.answers == reply.seen
        if lane.stuck and not (lane.waits_for(address) or reply.failed_before or address in self._failed):
            # It waits behind another one, perhaps for hours: it's sent on another channel, and may arrive twice.
            reply.dropped = True
            self._leave(reply, sending)
            return await self.send(address, reply.message, job=reply.job, queue=reply.queue)
        # A broker that is late is no fault of the address: only what has failed already isn't waited for any longer.
        longer = DROPPED_AFTER - STUCK_AFTER
        if not reply.failed_before and await self._answered_beside_others(reply, sending, longer):
            return _confirmed(sending)
        if reply in lane.unanswered:
            self._failed.note(address)
        self._drop(reply, Dropped.UNCONFIRMED)
        self._leave(reply, sending)
        return False

    def _leave(self, reply: Reply, sending: "asyncio.Task[bool]") -> None:
        """To the broker, if it has it."""
        self._leave_room(reply)
        if reply in reply.lane.unanswered:
            self._given_up.add(reply)
        else:
            sending.cancel()

    async def _answered_beside_others(
        self, reply: Reply, sending: "asyncio.Task[bool]", within: float, stands: float = STANDS_AFTER
    ) -> bool:
        """Wait so long for an answer, not counting the time in which the broker answers those before it, or nobody at all."""
        waited = stood = 0.0
        moves, reply.seen = -1, 0
        while waited < within and stood < stands:
            if moves != reply.lane.moves:
                waited = stood = 0.0
                moves, reply.seen = reply.lane.moves, reply.lane.answers
            others = self._others()
            if await self._answered(sending, TICK):
                return True
            stood += TICK
            waited += TICK if self._others() != others else 0.0
        return sending.done()

    async def _answered(self, sending: "asyncio.Task[bool]", within: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with self._patience(within):
                await asyncio.wait({sending})
        return sending.done()

    def _drop(self, reply: Reply, reason: Dropped, **fields: str) -> None:
        if not reply.dropped:
            reply.dropped = True
            self._tell(reason, reply.address, reply.job, reply.queue, **fields)

    def _tell(self, reason: Dropped, address: str, job: str, queue: str, **fields: str) -> None:
        say = log.debug if address in self._said else log.warning  # one may be for each job
        self._said.note(address)
        say(reason.text, reply_to=address, job=job, **fields)
        self._dropped(reason, queue)


def _confirmed(task: "asyncio.Task[bool]") -> bool:
    return not task.cancelled() and task.result()
