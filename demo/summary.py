"""What came of it: the tables at the end."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from demo.api import FinalJob
from demo.snapshot import JobSeen, Snapshot, rates
from demo.view import clock, number
from leveret.jobs import State


@dataclass(frozen=True, slots=True)
class Outcome:
    """All jobs of one kind together."""

    kind: str
    jobs: int
    succeeded: int
    dead: int
    attempts: float  # the mean


def outcomes(jobs: Iterable[JobSeen]) -> list[Outcome]:
    """Return the outcome of each kind, the largest first."""
    kinds: dict[str, list[JobSeen]] = {}
    for job in jobs:
        kinds.setdefault(job.kind, []).append(job)
    found = [
        Outcome(
            kind=kind,
            jobs=len(these),
            succeeded=sum(job.state is State.SUCCEEDED for job in these),
            dead=sum(job.state is State.DEAD for job in these),
            attempts=sum(job.attempt for job in these) / len(these),
        )
        for kind, these in kinds.items()
    ]
    return sorted(found, key=lambda outcome: -outcome.jobs)


def summary(now: Snapshot, found: list[Outcome], expected: Mapping[str, str]) -> RenderableType:
    """Return the tables: outcomes by kind, then how the queue was scaled."""
    return Group(_headline(now), Text(), _outcomes(found, expected), Text(), _timeline(now))


def in_words(job: FinalJob) -> str:
    """Return what came of one job."""
    if job.error is not None and job.state is State.DEAD:
        return f"{job.error.reason}: {job.error.message}"
    if job.result is None:
        return job.state
    if job.result.status is None or job.result.latency_seconds is None:
        return job.result.error or "no answer"
    times = len(job.result.redirects)
    passed = f" after {times} redirect{'s' if times > 1 else ''}" if times else ""
    return f"status {job.result.status} in {job.result.latency_seconds:.3f} s{passed}"


def examples(found: Iterable[tuple[str, str]]) -> RenderableType:
    """Return one job of each kind, in words."""
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    table.add_column("one that is", no_wrap=True)
    table.add_column("came to", overflow="fold")
    for kind, words in found:
        table.add_row(kind, Text(words))
    return table


def _headline(now: Snapshot) -> Text:
    tally = now.tally
    peak = max((speed for speed in rates(now.samples) if speed is not None), default=None)
    mean = tally.finished / now.elapsed if now.elapsed > 0 else None
    return Text(
        f"{tally.finished:,} of {tally.total:,} URLs are finished after {clock(now.elapsed)}: {tally.succeeded:,} succeeded, "
        f"{tally.dead:,} are dead letters, {tally.retries:,} retries; {number(mean)}/s on average, {number(peak)}/s at best.",
        style="bold",
    )


def _outcomes(found: list[Outcome], expected: Mapping[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    table.add_column("URLs that are", no_wrap=True)
    for title in ("checked", "succeeded", "dead", "attempts"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("what they do", overflow="fold")
    for one in found:
        table.add_row(
            one.kind,
            f"{one.jobs:,}",
            Text(f"{one.succeeded:,}", style="green"),
            Text(f"{one.dead:,}", style="red" if one.dead else ""),
            f"{one.attempts:.2f}",
            expected.get(one.kind, ""),
        )
    return table


def _timeline(now: Snapshot) -> RenderableType:
    if not now.decisions:
        return Text("The operator changed the number of pods at no time.", style="bright_black")
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    table.add_column("at", justify="right")
    table.add_column("pods", no_wrap=True)
    table.add_column("reason", no_wrap=True)
    table.add_column("in words", overflow="fold")
    for one in now.decisions:
        since = clock(max(0.0, (one.time - now.began).total_seconds()))
        table.add_row(since, f"{one.before} → {one.after}", one.reason, one.message)
    return table
