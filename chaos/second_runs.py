"""Which runs of a job are second ones: beyond one for each attempt, as its consumers and the witnesses tell.

A consumer that is killed may not have told that it began, but the witnesses know. So what they count beyond what
consumers told is a second run, too.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from chaos.causes import cause_of, hidden_cause_of
from chaos.evidence import Accepted, Happened, Presence, Row, Run, Witnessed
from chaos.plan import Part

Runs = Mapping[tuple[int, int], Sequence[Run]]  # by generation and attempt


@dataclass(frozen=True, slots=True)
class SecondRun:
    """A run beyond the attempts, and the fault that it is put down to."""

    job: str
    part: Part
    attempt: int | None  # None: only the witnesses know of it
    first: Run | None
    second: Run | None
    cause: int | None  # the fault's number; 0: the submitter itself sent the message twice; None: nothing explains it

    def __str__(self) -> str:
        if self.first is None or self.second is None:
            return f"{self.job} ({self.part}): the witnesses saw one run more than any consumer told of"
        return (
            f"{self.job} ({self.part}) attempt {self.attempt}: on {self.first.consumer} at {self.first.started_at:.1f}, again on "
            f"{self.second.consumer} at {self.second.started_at:.1f}, delivery {self.second.delivery}"
        )


def second_runs(
    one: Accepted,
    row: Row,
    seen: Witnessed,
    paths: Mapping[str, int],
    present: Sequence[Presence],
    faults: Sequence[Happened],
) -> list[SecondRun]:
    """Return them, each with its cause; `paths` are the targets' requests, `present` the runs of this job that a witness saw."""
    by_attempt: defaultdict[tuple[int, int], list[Run]] = defaultdict(list)
    for run in distinct(seen.runs.union(row.runs)):
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
    hidden = SecondRun(one.id, one.job.part, None, None, None, hidden_cause_of(one, seen, faults))
    return found + [hidden] * _untold(one, row, by_attempt, paths, present)


def distinct(runs: Iterable[Run]) -> list[Run]:
    """Of one start only one report, in order: the witness knows the delivery, which the store does not show."""
    found: list[Run] = []
    for run in sorted(runs, key=lambda run: (-run.delivery, run.started_at)):
        if not any(_same(run, known) for known in found):
            found.append(run)
    return sorted(found, key=lambda run: run.started_at)


def _same(one: Run, other: Run) -> bool:
    same_place = (one.generation, one.attempt, one.consumer) == (other.generation, other.attempt, other.consumer)
    return same_place and abs(one.started_at - other.started_at) < 0.002  # one time, read from two texts


def _untold(one: Accepted, row: Row, told: Runs, paths: Mapping[str, int], present: Sequence[Presence]) -> int:
    """Count the runs that only the targets know of. One for each attempt is the attempt itself, told of or not."""
    if one.job.path:
        return max(0, paths.get(one.job.path, 0) - max(sum(map(len, told.values())), row.attempt))
    return sum(
        max(0, count - max(1, sum(len(runs) for (_, attempt), runs in told.items() if attempt == number)))
        for number, count in Counter(run.attempt for run in present).items()
    )
