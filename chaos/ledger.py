"""The account of a run: what was accepted, against what the store says and what witnesses outside it saw.

The submitter's own file tells what was accepted. What ran tell the targets, which count the requests of jobs that ask
them by path, and the witness that each run of the others is connected to from its beginning to its end. Of how a job
ended only Leveret tells: the store, and the events and dead letters, which a queue of the run's own gets. An end is
believed only if the witnesses saw the attempts that it takes.

For each accepted job there must be exactly one final state, the right one. A run of a job beyond its attempts is a second
run; it needs a fault that can cause one, at its time and at its place, else it is a fault of ours. Two that go on at the
same time are one in any case, but for threads (`chaos.twins`).
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chaos.evidence import FINAL, Accepted, Asked, End, Happened, Presence, Row, Witness, Witnessed
from chaos.jobs import CRASH, Job
from chaos.plan import Part
from chaos.second_runs import SecondRun, distinct, second_runs
from chaos.twins import Pair, Why, pairs


class Account(Protocol):
    """What a stretch counts beside the jobs: `line` is its part of the closing line, `wrong` what must not be, by name."""

    @property
    def good(self) -> bool: ...
    @property
    def line(self) -> str: ...
    @property
    def wrong(self) -> Mapping[str, Sequence[str]]: ...


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
    lost: tuple[Wrong, ...]  # unknown to the store, or ended in a wrong way, or without having been seen to run
    stuck: tuple[Wrong, ...]
    doubled: tuple[Wrong, ...]
    again: tuple[SecondRun, ...]
    pairs: tuple[Pair, ...]  # of runs that went on at the same time, or in a process that should have known better
    maybe: int  # rows beside the accepted ones: their requests broke off, and they had been stored
    faults: tuple[Happened, ...]
    seed: int
    accounts: tuple[Account, ...] = ()

    @property
    def unexplained(self) -> tuple[SecondRun, ...]:
        return tuple(one for one in self.again if one.cause is None)

    @property
    def failed_faults(self) -> tuple[Happened, ...]:
        return tuple(one for one in self.faults if one.problem)

    def of(self, why: Why) -> tuple[Pair, ...]:
        """Return of each job the pair that went on longest."""
        return tuple({pair.job: pair for pair in reversed(self.pairs) if pair.why is why}.values())

    @property
    def good(self) -> bool:
        wrong = self.lost or self.stuck or self.doubled or self.of(Why.TWINS) or self.of(Why.FORGOTTEN)
        right = all(account.good for account in self.accounts)
        return right and not (wrong or self.unexplained or self.failed_faults)

    @property
    def line(self) -> str:
        return (
            f"chaos: submitted {self.submitted}, finished {self.finished}, lost {len(self.lost)}, "
            f"stuck {len(self.stuck)}, doubled {len(self.doubled)}, twins {len(self.of(Why.TWINS))}, "
            f"threads' twins {len(self.of(Why.THREADS))}, forgotten {len(self.of(Why.FORGOTTEN))}, "
            f"run again {len(self.again)}, "
            f"faults {len(self.faults)}, seed {self.seed}{''.join(f', {account.line}' for account in self.accounts)}"
        )


def settle(
    accepted: Sequence[Accepted],
    rows: Mapping[str, Row],
    rows_later: Mapping[str, Row],
    witness: Witness,
    asked: Asked,
    faults: Sequence[Happened],
    seed: int,
    accounts: Sequence[Account] = (),
    follow_ups: Collection[str] = (),
) -> Ledger:
    """Close the account. `rows` and `rows_later` are the store's, read twice: a final state must not change.

    `follow_ups` are jobs that jobs submitted: they must end, and the accounts tell whether they are right.
    """
    lost, stuck, doubled = [], [], []
    again: list[SecondRun] = []
    together: list[Pair] = []
    present: defaultdict[str, list[Presence]] = defaultdict(list)
    for run in asked.runs:
        present[run.job].append(run)
    finished = 0
    for one in accepted:
        row, seen, runs = rows_later.get(one.id), witness.of(one.id), present.get(one.id, [])
        if says := _lost(one, row, seen, asked.paths, runs):
            lost.append(Wrong(one.id, one.job.part, says))
        elif row and row.state not in FINAL:
            stuck.append(Wrong(one.id, one.job.part, f"{row.state}, attempt {row.attempt}"))
        else:
            finished += 1
        together += pairs(one, runs, faults, asked.at)
        more = second_runs(one, row, seen, asked.paths, runs, faults) if row else []
        if says := _doubled(rows.get(one.id), row, seen, more):
            doubled.append(Wrong(one.id, one.job.part, says))
        again += more
    ids = {one.id for one in accepted}
    others = {job: row for job, row in rows_later.items() if job not in ids}
    stuck += [
        Wrong(job, Part.BENCH, f"{row.state}, attempt {row.attempt}; a follow-up, or its submit broke off")
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
        tuple(together),
        len(others.keys() - set(follow_ups)),
        tuple(faults),
        seed,
        tuple(accounts),
    )


def _lost(
    one: Accepted, row: Row | None, seen: Witnessed, paths: Mapping[str, int], runs: Sequence[Presence]
) -> str | None:
    if row is None:
        return "accepted, and the store does not know it"
    if row.state not in FINAL:
        return None
    if row.state == "cancelled" and one.job.cancel is not None:
        return None  # whether it had begun, and where it waits in the store nobody tells of it
    if row.state != one.job.end:
        return f"is {row.state}, and must be {one.job.end}"
    if says := _not_seen_to_run(one, row, paths, runs):
        return f"is {row.state}, and {says}"
    if not seen.ends:
        return f"is {row.state}, and the witness queue has no end of it"
    return next((says for end in seen.ends if (says := _wrong_result(one.job, end))), None)


def _not_seen_to_run(one: Accepted, row: Row, paths: Mapping[str, int], runs: Sequence[Presence]) -> str | None:
    """Say which attempts the witnesses did not see, though the job can't have ended without them."""
    if one.job.path:
        count = paths.get(one.job.path, 0)
        enough = count >= one.job.attempts
        return None if enough else f"{one.job.path} was asked {count} times instead of {one.job.attempts}"
    begun = {run.attempt for run in runs}
    if len(begun) < one.job.attempts:
        return f"the witness saw {len(begun)} attempts instead of {one.job.attempts}"
    return None if row.attempt in begun else f"the witness did not see attempt {row.attempt}, the last"


def _wrong_result(job: Job, end: End) -> str | None:
    if end.state != "succeeded" or job.dead or job.type == CRASH:
        return None
    if job.path is None:
        return None if end.result == job.result else f"its result is {end.result!r}, and must be {job.result!r}"
    status = end.result.get("status") if isinstance(end.result, dict) else None
    return None if status == job.status else f"its result is {end.result!r}, and its status must be {job.status}"


def _doubled(before: Row | None, after: Row | None, seen: Witnessed, again: Sequence[SecondRun]) -> str | None:
    """Say what a second final state is: another one than the first, or the same one of a run that nothing explains."""
    if before and before.state in FINAL and (after is None or after.state not in FINAL):
        return f"was {before.state} and is {after.state if after else 'gone'}"
    states: defaultdict[int, set[str]] = defaultdict(set)
    for end in seen.ends:
        states[end.generation].add(end.state)
    for row in (before, after):
        if row and row.state in FINAL:
            states[row.generation].add(row.state)
    for generation, found in states.items():
        if len(found) > 1:
            return f"generation {generation}: {' and '.join(sorted(found))}"
    return _ended_again(seen, again)


def _ended_again(seen: Witnessed, again: Sequence[SecondRun]) -> str | None:
    """An end that is told twice of one run is one end. Each further run that ends needs a second run that a fault explains."""
    runs = distinct({end.run for end in seen.ends if end.run})
    further = len(runs) - len({run.generation for run in runs})
    if further <= sum(one.cause is not None for one in again):
        return None
    told = ", ".join(f"attempt {run.attempt} on {run.consumer} at {run.started_at:.1f}" for run in runs)
    return f"{len(runs)} runs ended it, and no fault explains that: {told}"
