"""What a turn found, what all turns found, and how that stands to the goals: no clock, no files."""

import statistics
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from bench.peers.libraries import FEW_SLOTS, NOOP, OURS
from bench.report import number

COLD_FROM, COLD_FOR, COLD_LEAST = 0.5, 0.5, 0.1  # s after a process's first run; for how long its rate is then taken
HEADS = ("turns", "jobs/s", "min – max", "µs CPU", "of a core", "before 1 s")


@dataclass(frozen=True, slots=True)
class Figures:
    rate: float  # jobs/s when warm
    cpu: float  # µs of the worker's processes for a job
    cold: float | None  # jobs/s in the half second that ends 1 s after the first job; None if there were too few jobs


Found = Mapping[tuple[str, str], Sequence[Figures]]  # by the names of load and library, the turns


def figures(cold: Sequence[float], warm: Sequence[float], cpu_seconds: float) -> Figures:
    """Make the figures from the sorted times of the runs of both halves."""
    begin, rate = cold[0] + COLD_FROM, None
    end = min(begin + COLD_FOR, cold[-1])
    if end - begin >= COLD_LEAST:
        rate = (bisect_left(cold, end) - bisect_left(cold, begin)) / (end - begin)
    return Figures((len(warm) - 1) / (warm[-1] - warm[0]), cpu_seconds / len(warm) * 1e6, rate)


def wrong(counts: bytes, unacknowledged: int) -> str:
    """Say what is wrong with how often each job ran; nothing if each ran once and the broker knows it."""
    lost, twice = counts.count(0), sum(count > 1 for count in counts)
    if not (lost or twice or unacknowledged):
        return ""
    return f"of {len(counts):,} jobs {lost:,} lost, {twice:,} run more than once, {unacknowledged:,} not acknowledged"


def ticks(stats: Iterable[str], group: int) -> int:
    """Add up the processor time of a process group's members, from their lines of /proc/PID/stat."""
    total = 0
    for stat in stats:
        fields = stat[stat.rindex(")") + 2 :].split()  # a program's name before may hold blanks and parentheses
        if int(fields[2]) == group:
            total += int(fields[11]) + int(fields[12])  # its own and the kernel's for it
    return total


def median(values: Iterable[float]) -> float | None:
    return statistics.median(known) if (known := list(values)) else None


@dataclass(frozen=True, slots=True)
class Goal:
    what: str
    found: float | None  # None: not measured in this run
    goal: float
    highest: bool = False

    @property
    def reached(self) -> bool:
        return self.found is not None and (self.found <= self.goal if self.highest else self.found >= self.goal)

    def __str__(self) -> str:
        reached = "reached" if self.reached else "not reached"
        found = "not measured" if self.found is None else f"{number(self.found)} ({reached})"
        return f"{self.what}: {found}; goal {'≤' if self.highest else '≥'} {self.goal:g}"


def goals(found: Found) -> list[Goal]:
    """Hold the medians of the no-op load against what is wanted of Leveret's worker."""
    noop = {name: turns for (load, name), turns in found.items() if load == NOOP.name}
    rates = {name: statistics.median(one.rate for one in turns) for name, turns in noop.items()}
    ours, few, turns = rates.pop(OURS.name, None), rates.pop(FEW_SLOTS.name, None), noop.get(OURS.name, ())
    best = max(rates, key=rates.__getitem__, default="none measured")
    warmth = median(one.cold / one.rate for one in turns if one.cold is not None)
    return [
        Goal(f"warm rate ÷ the best peer's, {best}", ours / rates[best] if ours and rates else None, 2.0),
        Goal("µs of CPU for a job, warm", median(one.cpu for one in turns), 80.0, highest=True),
        Goal("rate up to 1 s after the first job ÷ warm rate", warmth, 0.8),
        Goal("warm rate with 10 slots ÷ with 100", few / ours if few and ours else None, 0.7),
    ]


def table(found: Found, title: str) -> Table:
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for head in ("load", "library"):
        drawn.add_column(head, no_wrap=True)
    for head in HEADS:
        drawn.add_column(head, justify="right", no_wrap=True)
    for (load, library), turns in found.items():
        rates, cold = [one.rate for one in turns], median(one.cold for one in turns if one.cold is not None)
        core = statistics.median(one.rate * one.cpu / 1e6 for one in turns)
        drawn.add_row(
            load,
            library,
            str(len(turns)),
            f"{statistics.median(rates):,.0f}",
            f"{min(rates):,.0f} – {max(rates):,.0f}",
            f"{statistics.median(one.cpu for one in turns):.0f}",
            f"{core:.0%}",
            "–" if cold is None else f"{cold:,.0f}",
        )
    return drawn
