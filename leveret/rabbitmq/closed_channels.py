"""Write nothing on a channel that the broker has closed: it would close the connection for it, with all that runs.

Our client library answers a `channel.close`, and counts the channel as closed some turns of the event loop later. Of those
who wait to publish on it some get their turn in between. What they write comes after the answer, on a channel that the
broker has forgotten by then. So whoever gets its turn looks whether the answer was given.

The library has no place for this but itself: `heed_closing` changes it for the whole process.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiormq.channel import Channel
from aiormq.exceptions import ChannelInvalidStateError

_lock: Any = Channel.lock  # for those who write, and who look only whether the channel counts as closed


def heed_closing() -> None:
    """Have every connection of this process do so."""
    Channel.lock = property(_heeding)  # type: ignore[assignment]


@asynccontextmanager
async def _heeding(channel: Channel) -> AsyncIterator[None]:
    async with _lock.fget(channel):
        if channel._close_exception is not None:
            raise ChannelInvalidStateError(f"{channel!r} closed: {channel._close_exception}")
        yield
