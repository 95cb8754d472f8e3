"""Open channels for as long as a connection lasts: one that is closed leaves nothing, and there are no more than may be.

Our client library hangs two observers of the connection's end on the connection for each channel, and takes neither off
when the channel is closed: 3 to 4 KB each, until the connection ends. And it asks the broker for a channel beyond those that
this allows on a connection, by their number or by its own, which the broker answers by closing it, with all that runs. Here
one more is refused instead, and each has the lowest number that is free.

What comes for a channel never holds up the connection: the library's one reader of it waited once ten frames lay on a channel
that nobody read, as on one that was given up under an alarm while messages were on their way to it, and then nothing was
heard any more. A channel has room for what comes, and what comes for one that is closed is dropped.

The library has no place for this but itself: `keep_channels_few` changes it for the whole process.
"""

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from aio_pika.abc import UnderlayChannel
from aio_pika.tools import OneShotCallback
from aiormq.abc import AbstractConnection, ExceptionType
from aiormq.connection import Connection
from aiormq.exceptions import ChannelInvalidStateError

_UNBOUNDED = 0
_open: Any = Connection.channel


class _Nowhere:
    """In the place of a closed channel's frames."""

    async def put(self, frame: object) -> None:
        pass


def keep_channels_few() -> None:
    """Have every connection of this process do so."""
    Connection.channel = _within_the_limit  # type: ignore[method-assign,assignment]
    UnderlayChannel.create = classmethod(_create)  # type: ignore[method-assign,assignment,arg-type]
    UnderlayChannel.close = _close  # type: ignore[method-assign]


async def _within_the_limit(connection: Connection, **kwargs: Any) -> Any:
    """Count those that the broker has not yet answered the closing of, too: there they are open."""
    await connection.connected.wait()
    limit = connection.connection_tune.channel_max
    if limit and len(connection.channels) >= limit:
        raise ChannelInvalidStateError(f"the broker allows {limit} channels on a connection, and all are open")
    kwargs["channel_number"] = next(number for number in count(1) if number not in connection.channels)
    return await _open(connection, **kwargs, frame_buffer_size=_UNBOUNDED)


async def _create(
    cls: type[UnderlayChannel],
    connection: AbstractConnection,
    close_callback: Callable[..., Awaitable[Any]],
    **kwargs: Any,
) -> UnderlayChannel:
    """As the library does, with the observer of the connection kept in sight."""
    once = OneShotCallback(close_callback)
    await connection.ready()
    of_connection = connection.closing
    of_connection.add_done_callback(once)

    def let_go(_: object) -> None:
        of_connection.remove_done_callback(once)
        of_connection.cancel()

    try:
        channel = await connection.channel(**kwargs)
    except BaseException:
        let_go(None)
        raise
    of_channel = channel.closing
    of_channel.add_done_callback(once)
    of_channel.add_done_callback(let_go)
    of_channel.add_done_callback(lambda _: setattr(channel, "frames", _Nowhere()))
    return cls(channel=channel, close_callback=once)


async def _close(self: UnderlayChannel, exc: ExceptionType | None = None) -> Any:
    if not self.close_callback.finished.is_set():
        await self.channel.close(exc)
        await self.close_callback.wait()
