"""Lists of jobs over HTTP, up to the producer's 202, beside a bare insert of the same payloads into one table.

The relay publishes what was accepted at the same time, in the same process: that is how it is in life.
"""

import contextlib
import json
import time
from collections.abc import AsyncIterator
from functools import partial

import uuid_utils.compat as uuid_utils

from bench import references
from bench.measures import Measure, Turns, rates
from bench.measures.broker_side import PAYLOAD, QUEUE, TYPE
from bench.measures.producing import STORED, Producing, producing
from bench.servers import Servers

LISTS, JOBS_IN_LIST = 2, 5_000
BARE_LISTS = 20  # so much faster that it needs more for a turn of a like length
BODY = json.dumps([{"type": TYPE, "payload": json.loads(PAYLOAD)}] * JOBS_IN_LIST).encode()


@contextlib.asynccontextmanager
async def _open(servers: Servers) -> AsyncIterator[Turns]:
    async with producing(servers, "submit") as producer:
        await producer.database.execute(references.PAYLOADS)
        yield rates("submit", partial(_leveret, producer), partial(_bare, producer))


async def _leveret(producer: Producing) -> float:
    began = time.perf_counter()
    for _ in range(LISTS):
        await producer.submit(BODY, JOBS_IN_LIST)
    seconds = time.perf_counter() - began
    await producer.until_confirmed()
    await producer.clear(STORED, [QUEUE])
    return LISTS * JOBS_IN_LIST / seconds


async def _bare(producer: Producing) -> float:
    rows = [(uuid_utils.uuid7(), PAYLOAD) for _ in range(BARE_LISTS * JOBS_IN_LIST)]
    rate = await references.insert(producer.database, references.in_lists(rows, JOBS_IN_LIST))
    await producer.clear(["bare_payloads"], [])
    return rate


SUBMIT = Measure("submit", "jobs accepted over HTTP, lists of 5,000 ÷ rows of bare asyncpg inserts", _open)
