"""`python -m leveret_producer.set_aside list|put-back`: what could not be recorded, to be looked at, or once more.

Each message goes back to where it came from, is confirmed there, and only then gone here: killed at any point, it may be
there twice, which changes no record. What was there at the beginning is put back, and not what is set aside again
meanwhile. What nobody takes stays.
"""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from leveret import events, topology, wire
from leveret.events import HandlersRegistered
from leveret.rabbitmq.connection import BrokerErrors, BrokerGone, open_connection
from leveret.rabbitmq.publisher import NotConfirmed, Publisher
from leveret.settings import MissingSetting, Places
from leveret_producer.recorder.noted import EXCHANGE, headers_before, is_name

DONE, SOME_STAY, NOT_REACHABLE = 0, 1, 3
LISTED = 20
_SAID = 300  # characters of a reason
_HELP = "Look at what could not be recorded (the queue leveret.events.dead), or put it back once the cause is mended."
_NAMELESS = "it doesn't say which routing key and exchange it came with, so no producer set it aside"


async def list_all(connection: AbstractConnection, limit: int | None = None) -> int:
    """Print the oldest messages, a line each, and leave them where they are."""
    async with connection.channel() as channel:
        there = await _there(channel)
        print(f"{topology.EVENTS_DEAD} holds {there:,} messages")
        async for message in _oldest(channel, min(there, LISTED if limit is None else limit)):
            key, reason = (str(message.headers.get(name)) for name in (wire.ROUTING_KEY, wire.REASON))
            print(f"{key}  {len(message.body):,} bytes  {reason[:_SAID]}")
    return DONE


async def put_back(connection: AbstractConnection, limit: int | None = None) -> int:
    """Put the oldest messages back, at most so many, and print how many were."""
    outcome = PutBack()
    try:
        await put_back_into(outcome, connection, limit)
    finally:
        why = f", the first because {outcome.stay[0][:_SAID]}" if outcome.stay else ""
        print(
            f"{outcome.done:,} of {outcome.there:,} messages were put back, "
            f"{len(outcome.stay):,} could not be and stay{why}"
        )
    return SOME_STAY if outcome.stay else DONE


@dataclass(slots=True)
class PutBack:
    done: int = 0
    there: int = 0
    stay: list[str] = field(default_factory=list)  # why


async def put_back_into(
    outcome: PutBack, connection: AbstractConnection, limit: int | None = None, reason: str | None = None
) -> None:
    """Put the oldest messages back, at most so many, of one reason if that is given; note what comes of it.

    Raises one of BrokerErrors.
    """
    async with connection.channel() as channel:
        outcome.there = await _there(channel)
        publisher = await Publisher.open(connection)
        async for message in _oldest(channel, outcome.there if limit is None else min(outcome.there, limit)):
            if reason is not None and message.headers.get(wire.REASON) != reason:
                continue  # held until the end, as those below
            try:
                await _put_back(message, publisher)
            except NotConfirmed as problem:
                # It is held until the end, so that it doesn't come again. The channel may have been closed for it.
                outcome.stay.append(str(problem))
                publisher = await Publisher.open(connection)
            else:
                await message.ack()
                outcome.done += 1


async def _there(channel: AbstractChannel) -> int:
    queue = await channel.declare_queue(topology.EVENTS_DEAD, passive=True)
    return queue.declaration_result.message_count or 0


async def _oldest(channel: AbstractChannel, number: int) -> AsyncIterator[AbstractIncomingMessage]:
    """Take messages; those that aren't acknowledged are back when the channel is closed."""
    queue = await channel.get_queue(topology.EVENTS_DEAD, ensure=False)
    for _ in range(number):
        message = await queue.get(fail=False)
        if message is None:  # somebody else took it
            return
        yield message


async def _put_back(message: AbstractIncomingMessage, publisher: Publisher) -> None:
    key, exchange = message.headers.get(wire.ROUTING_KEY), message.headers.get(EXCHANGE, topology.EVENTS)
    if not isinstance(key, str) or not isinstance(exchange, str) or not (is_name(key) and is_name(exchange)):
        raise NotConfirmed(_NAMELESS)
    copy = wire.copy_of(message, {}, reply_to=message.reply_to)
    if exchange == topology.DEAD:
        # To the recorder alone (docs/decisions/0020), which reads from the headers what it was.
        exchange, key = "", topology.EVENTS
    else:
        before = headers_before(copy.headers)
        copy.headers = {name: value for name, value in before.items() if not name.startswith("x-")}
        copy.body = as_told_again(key, copy.body)
    await publisher.publish(exchange, key, copy)


def as_told_again(key: str, body: bytes) -> bytes:
    """Have handlers that were registered since then stay: a registration has no time, the last to come counts."""
    if key.startswith("handlers."):
        with suppress(ValueError):  # what can't be read is set aside once more
            _, event = events.decode(key, body)
            if isinstance(event, HandlersRegistered):
                return events.encode(msgspec.structs.replace(event, again=True))
    return body


async def run(command: str, limit: int | None, places: Places) -> int:
    """Return the exit code."""
    try:
        async with await open_connection(places.broker(), "leveret set aside") as connection:
            return await (list_all if command == "list" else put_back)(connection, limit)
    except (MissingSetting, BrokerGone, *BrokerErrors) as problem:
        print(f"the broker can't be reached: {problem}; what was set aside is kept", file=sys.stderr)
        return NOT_REACHABLE


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m leveret_producer.set_aside", description=_HELP)
    parser.add_argument("command", choices=("list", "put-back"))
    parser.add_argument("--limit", type=_number, help=f"the oldest so many; without, list shows {LISTED}")
    asked = parser.parse_args(arguments)
    logging.disable()  # what the client library has to say of a broker that is away is said in one sentence here
    return asyncio.run(run(asked.command, asked.limit, Places(dict(os.environ))))


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
