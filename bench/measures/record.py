"""The producer's recorder on a burst of events, beside bare upserts of the states that the events tell.

The jobs are in the table already, as they are in life; each is reported to run and to have succeeded. The events are
made beforehand, and put on the exchange as fast as the broker takes them, 100 in a message: that takes a small part of
the time that recording takes, and counts with it.
"""

import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import msgspec
import uuid_utils.compat as uuid_utils
from aio_pika import DeliveryMode, Message

from bench import references
from bench.measures import Measure, Turns, rates
from bench.measures.broker_side import QUEUE, TYPE
from bench.measures.producing import STORED, Producing, producing
from bench.servers import Servers
from leveret import events, topology
from leveret.events import JobEvent
from leveret.jobs import State, merge_key

JOBS = 6_000
EVENTS = 2 * JOBS
BARE_JOBS = 30_000  # so much faster that they need more for a turn of a like length
JOBS_IN_MESSAGE = 50
ROWS_IN_STATEMENT = 1_000
WINDOW = 100
# As the producer leaves jobs that the broker has confirmed.
_QUEUED = """
    INSERT INTO jobs (id, queue, type, state, merge_key, max_attempts, created_at, published_at)
    SELECT id, $2, $3, 'queued', $4, 5, now(), now() FROM unnest($1::uuid[]) AS new (id)
"""
_ALL_RECORDED = "SELECT NOT EXISTS (SELECT FROM jobs WHERE state <> 'succeeded')"


@contextlib.asynccontextmanager
async def _open(servers: Servers) -> AsyncIterator[Turns]:
    async with producing(servers, "record") as producer:
        await producer.database.execute(references.STATES)
        yield rates("record", partial(_leveret, producer), partial(_bare, producer))


async def _leveret(producer: Producing) -> float:
    return EVENTS / await seconds_to_record(producer)


async def seconds_to_record(producer: Producing) -> float:
    """Have all the events recorded, and make a clean table again."""
    ids = _ids(JOBS)
    await producer.database.execute(_QUEUED, ids, QUEUE, TYPE, merge_key(State.QUEUED, 1))
    told = references.in_lists(_history(ids), 2 * JOBS_IN_MESSAGE)
    messages = [Message(events.encode(some), delivery_mode=DeliveryMode.PERSISTENT) for some in told]
    began = time.perf_counter()
    for some in references.in_lists(messages, WINDOW):
        await producer.broker.burst(topology.EVENTS, f"job.{QUEUE}", some)
    seconds = await producer.until_true("all events are recorded", _ALL_RECORDED) - began
    await producer.clear(STORED, [])
    return seconds


async def _bare(producer: Producing) -> float:
    rows = [(event.id, str(event.state), event.key, event.at) for event in _history(_ids(BARE_JOBS))]
    of_each_state = [rows[0::2], rows[1::2]]  # a statement can write a row only once
    lists = [some for one in of_each_state for some in references.in_lists(one, ROWS_IN_STATEMENT)]
    queued = [(row[0], "queued", 0, row[3]) for row in rows[0::2]]
    await references.upsert(producer.database, [queued])
    rate = await references.upsert(producer.database, lists)
    await producer.clear(["bare_states"], [])
    return rate


def _ids(count: int) -> list[UUID]:
    return [uuid_utils.uuid7() for _ in range(count)]


def _history(ids: list[UUID]) -> list[JobEvent]:
    """Each job's start and end, one after the other."""
    now = datetime.now(UTC)
    later = now + timedelta(milliseconds=1)
    told: list[JobEvent] = []
    for one in ids:
        start = JobEvent(
            one, TYPE, State.RUNNING, now, "bench", max_attempts=5, submitted_at=now, started_at=now, wait_seconds=0.1
        )
        end = msgspec.structs.replace(
            start, state=State.SUCCEEDED, at=later, wait_seconds=None, run_seconds=0.001, result=msgspec.Raw(b"null")
        )
        told += (start, end)
    return told


RECORD = Measure("record", "events of the recorder ÷ bare asyncpg upserts of the same states", _open)
