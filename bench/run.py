"""Take turns: Leveret, reference, Leveret, reference; then the next measure."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import Callable, Sequence

import asyncpg
import httpx

from bench.measures import Figures, Measure, PureMeasure, Turns
from bench.processes import Failed
from bench.ratios import Repetition, Result
from bench.report import number
from bench.servers import Servers
from leveret.client.rpc import CallError
from leveret.rabbitmq.connection import BrokerErrors
from leveret.rabbitmq.publisher import NotConfirmed

FEWEST = 2  # repetitions: a busy machine gets fewer than asked for, not less than these
_TROUBLE = (*BrokerErrors, NotConfirmed, asyncpg.PostgresError, asyncpg.InterfaceError, httpx.HTTPError, CallError)

Note = Callable[[str], None]


def needs_servers(measures: Sequence[Measure | PureMeasure]) -> bool:
    return any(isinstance(one, Measure) for one in measures)


async def measure_all(
    measures: Sequence[Measure | PureMeasure], servers: Servers | None, repeat: int, longest: float, note: Note
) -> list[Result]:
    """Make measures one after the other, in `longest` seconds; return what is done by then. Raises Failed."""
    results: list[Result] = []
    end = time.monotonic() + longest
    name = ""
    try:
        async with asyncio.timeout(longest) as limit:
            for done, one in enumerate(measures):
                name = one.name
                share = one.weight / sum(other.weight for other in measures[done:])
                until = time.monotonic() + share * (end - time.monotonic())
                async with _opened(one, servers) as turns:
                    found = await _measured(turns, repeat, until)
                    results += found  # they count, even if there is no time left for ending the processes
                    for result in found:
                        note(progress(result, repeat))
    except _TROUBLE as problem:
        if not (isinstance(problem, TimeoutError) and limit.expired()):
            raise Failed(f"{name} can't be measured: {type(problem).__name__}: {problem}") from problem
    return results


def _opened(measure: Measure | PureMeasure, servers: Servers | None) -> contextlib.AbstractAsyncContextManager[Turns]:
    if isinstance(measure, PureMeasure):
        return measure.open()
    assert servers is not None
    return measure.open(servers)


async def _measured(turns: Turns, repeat: int, until: float) -> list[Result]:
    repetitions: list[tuple[Figures, Figures]] = []
    while len(repetitions) < repeat and (len(repetitions) < FEWEST or time.monotonic() < until):
        repetitions.append((await turns.subject(), await turns.reference()))
    return paired(repetitions)


def paired(repetitions: Sequence[tuple[Figures, Figures]]) -> list[Result]:
    """Make a result of each figure that both reached in each repetition."""
    return [
        Result(name, tuple(Repetition(subject[name], reference[name]) for subject, reference in repetitions))
        for name in repetitions[0][0]
    ]


def progress(result: Result, asked: int) -> str:
    """Say in a line what a measure found: the ratios, and the medians that stand behind them."""
    ratios = " ".join(f"{ratio:.3g}" for ratio in result.ratios)
    fewer = f" (not {asked}: the machine is busy)" if len(result.ratios) < asked else ""
    medians = (
        statistics.median(figures)
        for figures in zip(*((one.subject, one.reference) for one in result.repetitions), strict=True)
    )
    return f"{result.name}: {len(result.ratios)} turns{fewer}: {ratios}; medians {' and '.join(map(number, medians))}"
