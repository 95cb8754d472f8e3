"""What a batch fails on stops neither its neighbours nor the recorder, whatever it is.

What is bad in an event is found where it is read or written. Here is caught what nobody thought of: the batch's messages
are then handled one by one, and the culprit is set aside as it came, with the reason. Database and broker are no
culprits: for them a batch waits, or begins anew.
"""

from collections.abc import Awaitable, Callable, Sequence

from aio_pika.abc import AbstractIncomingMessage

from leveret.rabbitmq.connection import BrokerErrors, BrokerGone
from leveret.rabbitmq.publisher import NotConfirmed, Publisher
from leveret_producer.recorder.batch import SetAside
from leveret_producer.recorder.committing import defect
from leveret_producer.recorder.writer import Writer
from leveret_producer.store.postgres import DatabaseUnavailable, TryAgain

_NO_CULPRIT = (BrokerGone, NotConfirmed, DatabaseUnavailable, TryAgain, *BrokerErrors)

Messages = Sequence[AbstractIncomingMessage]


async def handle_all(
    messages: Messages, handle: Callable[[Messages, Publisher], Awaitable[None]], writer: Writer, publisher: Publisher
) -> None:
    """Have all handled together, or one after another and what that fails for set aside. `handle` may be repeated."""
    try:
        await handle(messages, publisher)
    except _NO_CULPRIT:
        raise
    except Exception as problem:  # noqa: BLE001 - the reason of what is set aside
        if len(messages) == 1:
            return await _set_aside(messages[0], defect(problem), writer, publisher)
        for message in messages:
            await handle_all([message], handle, writer, publisher)


async def _set_aside(message: AbstractIncomingMessage, because: str, writer: Writer, publisher: Publisher) -> None:
    """As it came, or if that is what can't be done, its body and its key: what is in its headers may be the culprit."""
    try:
        await writer.set_aside([SetAside.of_message(message, because)], publisher)
    except _NO_CULPRIT:
        raise
    except Exception as problem:  # noqa: BLE001 - the reason of what is set aside
        plain = SetAside(message.routing_key or "", message.body, f"{because}; {defect(problem)}")
        await writer.set_aside([plain], publisher)
