"""Close a channel once, by whichever side, and write nothing on it afterwards: the broker would close the connection.

Our client library answers a `channel.close`, and counts the channel as closed some turns of the event loop later. Of those
who wait to publish on it some get their turn in between. What they write comes after the answer, on a channel that the
broker has forgotten by then. So whoever gets its turn looks whether the answer is given. And it gave no answer where ten
frames waited to be written; the broker then ignores the next channel of that number.

A close of ours was asked for a second time after a heartbeat without an answer, as under an alarm: the second answer closed
the next channel of that number. So it's asked for once, and waited for until it's answered or the connection ends.

The library has no place for this but itself: `heed_closing` changes it for the whole process.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiormq import spec
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel, exception_by_code
from aiormq.exceptions import ChannelInvalidStateError
from pamqp.base import Frame
from pamqp.constants import REPLY_SUCCESS

_lock: Any = Channel.lock  # for those who write, and who look only whether the channel counts as closed
_CLOSE = spec.Channel.Close(REPLY_SUCCESS, "", 0, 0)


def heed_closing() -> None:
    """Have every connection of this process do so."""
    changed: Any = Channel
    changed.lock, changed._on_close, changed._on_close_frame = property(_heeding), _close, _answer


@contextlib.asynccontextmanager
async def _heeding(channel: Channel) -> AsyncIterator[None]:
    async with _lock.fget(channel):
        refuse_if_closing(channel)
        yield


def refuse_if_closing(channel: Channel) -> None:
    """Raise ChannelInvalidStateError for one on which nothing may be written any more."""
    if channel.is_closed or channel._close_exception is not None or _closed(channel).is_set():
        raise ChannelInvalidStateError(f"{channel!r} closed: {channel._close_exception}")


async def _answer(channel: Channel, asked: spec.Channel.Close) -> None:
    channel._close_exception = exception_by_code(asked)
    await _write(channel, spec.Channel.CloseOk())
    _closed(channel).set()
    raise channel._close_exception


async def _close(channel: Channel, because: object = None) -> None:
    """Return once it's answered, or at once to whoever is cancelled; the close goes on, and nobody writes after it."""
    if not channel.connection.is_opened or _closed(channel).is_set():
        return
    task = asyncio.current_task()
    # With an exception the channel's reader may have ended: nobody would read the answer.
    if isinstance(because, Exception) or (task and task.cancelling()):
        _closed(channel).set()
        channel.connection.create_task(_write(channel, _CLOSE))
        return
    asking: Any = channel.create_task(_ask(channel))  # ends with the channel
    await asyncio.wait({asking.task})


async def _ask(channel: Channel) -> None:
    with contextlib.suppress(ChannelInvalidStateError):  # it's closed meanwhile
        async with channel.lock:
            if not _closed(channel).is_set():
                await _write(channel, _CLOSE)
                await _closed(channel).wait()


async def _write(channel: Channel, frame: Frame) -> None:
    await channel.write_queue.put(ChannelFrame.marshall(channel_number=channel.number, frames=[frame]))


def _closed(channel: Channel) -> asyncio.Event:
    """Set once it is, and once a call on it was given up, which asked for its close."""
    event: asyncio.Event = channel._Channel__close_event  # type: ignore[attr-defined]
    return event
