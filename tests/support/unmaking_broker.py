"""A broker that can't make some queues, as RabbitMQ 4.3 one that was deleted while somebody declared it.

In front of a real one, everything passes but the declaration of such a queue where it isn't there: its answer is an internal
error, and the connection is closed (rabbitmq-server#17457). What was asked before is answered before.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pamqp.frame
from pamqp import commands as spec

from leveret.settings import Broker

HEAD, END = 7, 1
ANSWERED_WITHIN = 0.2  # s, what was asked before on the same connection


@dataclass
class UnmakingBroker:
    server: Broker  # the real one
    broker: Broker
    queues: set[str] = field(default_factory=set)  # that it can't make; delete them first
    refused: Counter[str] = field(default_factory=Counter)
    links: set[asyncio.Task[None]] = field(default_factory=set)

    async def link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.links.add(task)
        task.add_done_callback(self.links.discard)
        theirs, ours = await asyncio.open_connection(self.server.host, self.server.port)
        answering = asyncio.create_task(_pass_on(theirs, writer))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            asking = asyncio.create_task(self._asks(reader, ours))
            await asyncio.wait({answering, asking}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done() and not asking.cancelled() and not asking.exception() and (queue := asking.result()):
                await asyncio.wait({answering}, timeout=ANSWERED_WITHIN)
                writer.write(pamqp.frame.marshal(self._close(queue), 0))
                await writer.drain()
                await reader.read(1 << 16)  # close-ok
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        for end in (ours, writer):
            end.close()

    async def _asks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Pass on what a client asks; return the queue that can't be made once it asks for one."""
        writer.write(await reader.readexactly(8))
        while True:
            head = await reader.readexactly(HEAD)
            whole = head + await reader.readexactly(int.from_bytes(head[3:]) + END)
            if head[0] == 1 and whole[HEAD : HEAD + 4] == b"\x00\x32\x00\x0a":
                _, _, asked = pamqp.frame.unmarshal(whole)
                assert isinstance(asked, spec.Queue.Declare)
                if asked.queue in self.queues and not asked.passive:
                    self.refused[asked.queue] += 1
                    return asked.queue
            writer.write(whole)
            await writer.drain()

    def _close(self, queue: str) -> spec.Connection.Close:
        node = "'rabbit@host'"
        text = f"INTERNAL_ERROR - Cannot declare quorum queue '{queue}' in vhost '{self.server.vhost}' on node {node} with leader"
        text = f"{text} on node {node}: cluster_not_formed"
        return spec.Connection.Close(reply_code=541, reply_text=text[:255], class_id=50, method_id=10)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while some := await reader.read(1 << 16):
            writer.write(some)
            await writer.drain()


@contextlib.asynccontextmanager
async def unmaking(broker: Broker) -> AsyncIterator[UnmakingBroker]:
    made = UnmakingBroker(broker, broker)
    server = await asyncio.start_server(made.link, "127.0.0.1", 0)
    made.broker = replace(broker, host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    try:
        yield made
    finally:
        server.close()
        for one in made.links:
            one.cancel()
        await asyncio.gather(*made.links, return_exceptions=True)
