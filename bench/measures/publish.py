"""From POST to the outbox being empty, beside a bare publisher with a window of 100 unconfirmed messages.

Leveret's time holds all that makes a job safe: its rows' commit, the confirm of the broker, and the mark that it came.
"""

import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial

from bench import references
from bench.measures import Measure, Turns, rates
from bench.measures.broker_side import BARE, QUEUE, jobs
from bench.measures.producing import STORED, Producing, producing
from bench.measures.submit import BODY, JOBS_IN_LIST
from bench.servers import Servers

WINDOW = 100


@contextlib.asynccontextmanager
async def _open(servers: Servers) -> AsyncIterator[Turns]:
    async with producing(servers, "publish") as producer:
        yield rates("publish", partial(_leveret, producer), partial(_bare, producer))


async def _leveret(producer: Producing) -> float:
    began = time.perf_counter()
    await producer.submit(BODY, JOBS_IN_LIST)
    seconds = await producer.until_confirmed() - began
    await producer.clear(STORED, [QUEUE])
    return JOBS_IN_LIST / seconds


async def _bare(producer: Producing) -> float:
    messages = jobs(JOBS_IN_LIST)
    rate = await references.publish(producer.broker.connection, BARE, messages, WINDOW)
    await producer.clear([], [BARE])
    return rate


PUBLISH = Measure("publish", "jobs from POST to confirmed ÷ bare aio-pika publisher, window of 100", _open)
