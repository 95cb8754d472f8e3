"""The account of a run: what was accepted, against what the store says and what witnesses outside it saw.

Witnesses are the submitter's own file, the servers that were asked (they count requests by path), and a queue of the
run's own that gets every event and every dead letter. For each accepted job there must be exactly one final state, the
right one. A run of a job beyond its attempts is a second run; it needs a fault that can cause one, at its time and at
its place, else it is a fault of ours.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from chaos.causes import cause_of, hidden_cause_of
from chaos.evidence import FINAL, Accepted, End, Happened, Row, Run, Witness, Witnessed
from chaos.jobs import CRASH, Job
from chaos.plan import Part


@dataclass(frozen=True, slots=True)
class SecondRun:
    """A run beyond the attempts, and the fault that it is put down to."""

    job: str
    part: Part
    attempt: int | None  # None: only the servers that were asked know of it
    first: Run | None
    second: Run | None
    cause: int | None  # the fault's number; 0: the submitter itself sent the message twice; None: nothing explains it

    def __str__(self) -> str:
        if self.first is None or self.second is None:
            return f"{self.job} ({self.part}): the servers were asked once more than any consumer told"
        return (
            f"{self.job} ({self.part}) attempt {self.attempt}: on {self.first.consumer} at {self.first.started_at:.1f}, again on "
            f"{self.second.consumer} at {self.second.started_at:.1f}, delivery {self.second.delivery}"
        )


@dataclass(frozen=True, slots=True)
class Wrong:
    job: str
    part: Part
    says: str

    def __str__(self) -> str:
        return f"{self.job} ({self.part}): {self.says}"


@dataclass(frozen=True, slots=True)
class Ledger:
    submitted: int
    finished: int  # in the right final state
    lost: tuple[Wrong, ...]  # unknown to the store, or ended without having run, or in a wrong way
    stuck: tuple[Wrong, ...]
    doubled: tuple[Wrong, ...]
    again: tuple[SecondRun, ...]
    maybe: int  # rows beside the accepted ones: their requests broke off, and they had been stored
    faults: tuple[Happened, ...]
    seed: int

    @property
    def unexplained(self) -> tuple[SecondRun, ...]:
        return tuple(one for one in self.again if one.cause is None)

    @property
    def failed_faults(self) -> tuple[Happened, ...]:
        return tuple(one for one in self.faults if one.problem)

    @property
    def good(self) -> bool:
        return not (self.lost or self.stuck or self.doubled or self.unexplained or self.failed_faults)

    @property
    def line(self) -> str:
        return (
            f"chaos: submitted {self.submitted}, finished {self.finished}, lost {len(self.lost)}, "
            f"stuck {len(self.stuck)}, doubled {len(self.doubled)}, run again {len(self.again)}, "
            f"faults {len(self.faults)}, seed {self.seed}"
        )


def settle(
    accepted: Sequence[Accepted],
    rows: Mapping[str, Row],
    rows_later: Mapping[str, Row],
    witness: Witness,
    requests: Mapping[str, int],
    faults: Sequence[Happened],
    seed: int,
) -> Ledger:
    """Close the account. `rows` and `rows_later` are the store's, read twice: a final state must not change."""
    lost, stuck, doubled = [], [], []
    again: list[SecondRun] = []
    finished = 0
    for one in accepted:
        row, seen = rows_later.get(one.id), witness.of(one.id)
        if says := _lost(one, row, seen, requests):
            lost.append(Wrong(one.id, one.job.part, says))
        elif row and row.state not in FINAL:
            stuck.append(Wrong(one.id, one.job.part, f"{row.state}, attempt {row.attempt}"))
        else:
            finished += 1
        if says := _doubled(rows.get(one.id), row, seen):
            doubled.append(Wrong(one.id, one.job.part, says))
        if row:
            again += _second_runs(one, row, seen, requests, faults)
    ids = {one.id for one in accepted}
    others = {job: row for job, row in rows_later.items() if job not in ids}
    stuck += [
        Wrong(job, Part.BENCH, f"{row.state}, attempt {row.attempt}; its submit broke off, and it was stored")
        for job, row in others.items()
        if row.state not in FINAL
    ]
    return Ledger(
        len(accepted),
        finished,
        tuple(lost),
        tuple(stuck),
        tuple(doubled),
        tuple(again),
        len(others),
        tuple(faults),
        seed,
    )


def _lost(one: Accepted, row: Row | None, seen: Witnessed, requests: Mapping[str, int]) -> str | None:
    if row is None:
        return "accepted, and the store does not know it"
    if row.state not in FINAL:
        return None
    if row.state != one.job.end:
        return f"is {row.state}, and must be {one.job.end}"
    if one.job.path and (count := requests.get(one.job.path, 0)) < one.job.requests:
        return f"is {row.state}, and {one.job.path} was asked {count} times instead of {one.job.requests}"
    if not seen.ends:
        return f"is {row.state}, and the witness queue has no end of it"
    return next((says for end in seen.ends if (says := _wrong_result(one.job, end))), None)


def _wrong_result(job: Job, end: End) -> str | None:
    if end.state != "succeeded" or job.dead or job.type == CRASH:
        return None
    if job.path is None:
        return None if end.result == job.result else f"its result is {end.result!r}, and must be {job.result!r}"
    status = end.result.get("status") if isinstance(end.result, dict) else None
    return None if status == job.status else f"its result is {end.result!r}, and its status must be {job.status}"


def _doubled(before: Row | None, after: Row | None, seen: Witnessed) -> str | None:
    """A second, different final state of one generation, told by an event or shown by the store."""
    states: defaultdict[int, set[str]] = defaultdict(set)
    for end in seen.ends:
        states[end.generation].add(end.state)
    for row in (before, after):
        if row and row.state in FINAL:
            states[row.generation].add(row.state)
    if before and before.state in FINAL and (after is None or after.state not in FINAL):
        return f"was {before.state} and is {after.state if after else 'gone'}"
    return next(
        (f"generation {number}: {' and '.join(sorted(found))}" for number, found in states.items() if len(found) > 1),
        None,
    )


def _second_runs(
    one: Accepted, row: Row, seen: Witnessed, requests: Mapping[str, int], faults: Sequence[Happened]
) -> list[SecondRun]:
    by_attempt: defaultdict[tuple[int, int], list[Run]] = defaultdict(list)
    for run in _distinct(seen.runs.union(row.runs)):
        by_attempt[run.generation, run.attempt].append(run)
    found: list[SecondRun] = []
    explained = False  # by its first copy; what runs twice once may be two messages from there on
    for (_, attempt), runs in sorted(by_attempt.items()):
        for first, second in pairwise(runs):
            cause = cause_of(one, first, second, faults)
            if cause is None and explained:
                cause = found[-1].cause
            explained = explained or cause is not None
            found.append(SecondRun(one.id, one.job.part, attempt, first, second, cause))
    told = sum(len(runs) for runs in by_attempt.values())
    untold = requests.get(one.job.path or "", 0) - max(
        told, row.attempt
    )  # its consumer was killed before it could tell
    hidden = SecondRun(one.id, one.job.part, None, None, None, hidden_cause_of(one, seen, faults))
    return found + [hidden] * max(untold, 0)


def _distinct(runs: Iterable[Run]) -> list[Run]:
    """Of one start only one report, in order: the witness knows the delivery, which the store does not show."""
    found: list[Run] = []
    for run in sorted(runs, key=lambda run: (-run.delivery, run.started_at)):
        if not any(_same(run, known) for known in found):
            found.append(run)
    return sorted(found, key=lambda run: run.started_at)


def _same(one: Run, other: Run) -> bool:
    same_place = (one.generation, one.attempt, one.consumer) == (other.generation, other.attempt, other.consumer)
    return same_place and abs(one.started_at - other.started_at) < 0.002  # one time, read from two texts
