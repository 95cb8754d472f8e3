"""The same burst of events for the recorder of each version: as in `bench.measures.record`, with what it costs."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial

from bench.against import Done, figures
from bench.measures import Figures, Measure, Turns
from bench.measures.producing import Producing, producing
from bench.measures.record import EVENTS, seconds_to_record
from bench.servers import Servers
from bench.versions import TODAY, Version


def record(base: Version) -> Measure:
    compared = "events on jobs, by the recorder of one producer"
    return Measure("record", compared, partial(_open, base), ("record.rate", "record.cpu"))


@contextlib.asynccontextmanager
async def _open(base: Version, servers: Servers) -> AsyncIterator[Turns]:
    async with producing(servers, "record_today", TODAY) as ours, producing(servers, "record_base", base) as theirs:
        yield Turns(partial(_turn, ours), partial(_turn, theirs))


async def _turn(producer: Producing) -> Figures:
    cpu = producer.process.cpu_seconds()
    seconds = await seconds_to_record(producer)
    return figures("record", Done(EVENTS, seconds, producer.process.cpu_seconds() - cpu))
