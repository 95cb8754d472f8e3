"""Take turns: Leveret, reference, Leveret, reference; then the next measure."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import asyncpg
import httpx

from bench.measures import Measure, PureMeasure, Turns
from bench.measures.consume import CONSUME
from bench.measures.decide import DECIDE
from bench.measures.publish import PUBLISH
from bench.measures.record import RECORD
from bench.measures.submit import SUBMIT
from bench.processes import Failed
from bench.ratios import Repetition, Result
from bench.servers import Servers
from leveret.rabbitmq.connection import BrokerErrors
from leveret.rabbitmq.publisher import NotConfirmed

ALL: tuple[Measure | PureMeasure, ...] = (DECIDE, SUBMIT, PUBLISH, CONSUME, RECORD)
LONGEST = 200.0  # s for all measures together, beside starting the servers
FEWEST = 2  # repetitions: a busy machine gets fewer than asked for, not less than these
_TROUBLE = (*BrokerErrors, NotConfirmed, asyncpg.PostgresError, asyncpg.InterfaceError, httpx.HTTPError)

Note = Callable[[str], None]


def needs_servers(measures: Sequence[Measure | PureMeasure]) -> bool:
    return any(isinstance(one, Measure) for one in measures)


async def measure_all(
    measures: Sequence[Measure | PureMeasure], servers: Servers | None, repeat: int, note: Note
) -> list[Result]:
    """Make measures one after the other until the time is up; return what is done. Raises Failed."""
    results: list[Result] = []
    end = time.monotonic() + LONGEST
    name = ""
    try:
        async with asyncio.timeout(LONGEST) as limit:
            for one in measures:
                name = one.name
                share = (end - time.monotonic()) / (len(measures) - len(results))
                async with _opened(one, servers) as turns:
                    results.append(await _measured(one.name, turns, repeat, time.monotonic() + share))
                note(progress(results[-1], repeat))
    except _TROUBLE as problem:
        if not (isinstance(problem, TimeoutError) and limit.expired()):
            raise Failed(f"{name} can't be measured: {type(problem).__name__}: {problem}") from problem
    return results


def _opened(measure: Measure | PureMeasure, servers: Servers | None) -> contextlib.AbstractAsyncContextManager[Turns]:
    if isinstance(measure, PureMeasure):
        return measure.open()
    assert servers is not None
    return measure.open(servers)


async def _measured(name: str, turns: Turns, repeat: int, until: float) -> Result:
    repetitions: list[Repetition] = []
    while len(repetitions) < repeat and (len(repetitions) < FEWEST or time.monotonic() < until):
        repetitions.append(Repetition(subject=await turns.subject(), reference=await turns.reference()))
    return Result(name, tuple(repetitions))


def progress(result: Result, asked: int) -> str:
    """Say in a line what a measure found."""
    ratios = " ".join(f"{ratio:.3g}" for ratio in result.ratios)
    fewer = f" (not {asked}: the machine is busy)" if len(result.ratios) < asked else ""
    return f"{result.name}: {len(result.ratios)} turns{fewer}: {ratios}"
