"""Open channels for as long as a connection lasts: one that is closed leaves nothing, and there are no more than may be.

Our client library hangs two observers of the connection's end on the connection for each channel, and takes neither off
when the channel is closed: 3 to 4 KB each, until the connection ends. And it asks the broker for a channel beyond those that
this allows on a connection, which the broker answers by closing it, with all that runs. Here one more is refused instead.

The library has no place for this but itself: `keep_channels_few` changes it for the whole process.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aio_pika.abc import UnderlayChannel
from aio_pika.tools import OneShotCallback
from aiormq.abc import AbstractConnection, ExceptionType
from aiormq.connection import Connection
from aiormq.exceptions import ChannelInvalidStateError

_open: Any = Connection.channel


def keep_channels_few() -> None:
    """Have every connection of this process do so."""
    Connection.channel = _within_the_limit  # type: ignore[method-assign,assignment]
    UnderlayChannel.create = classmethod(_create)  # type: ignore[method-assign,assignment,arg-type]
    UnderlayChannel.close = _close  # type: ignore[method-assign]


async def _within_the_limit(connection: Connection, *args: Any, **kwargs: Any) -> Any:
    """Count those that the broker has not yet answered the closing of, too: there they are open."""
    await connection.connected.wait()
    limit = connection.connection_tune.channel_max
    if limit and len(connection.channels) >= limit:
        raise ChannelInvalidStateError(f"the broker allows {limit} channels on a connection, and all are open")
    return await _open(connection, *args, **kwargs)


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
    return cls(channel=channel, close_callback=once)


async def _close(self: UnderlayChannel, exc: ExceptionType | None = None) -> Any:
    if not self.close_callback.finished.is_set():
        await self.channel.close(exc)
        await self.close_callback.wait()
