"""The account of effects: the rows that jobs wrote in their transactions, as the example's own table has them at the end.

One row of each job that succeeded, none of any other; and of each follow-up that was submitted with a row one job, with its
row. Leveret tells only how the jobs ended.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chaos.evidence import Row

SELECT = "SELECT job, parent, number, follow_ups FROM effects"
Sentences = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """A row of the table."""

    job: str
    parent: str | None
    number: int | None  # which of its parent's follow-ups
    follow_ups: int  # that were submitted with it


@dataclass(frozen=True, slots=True)
class Effects:
    rows: int
    doubled: Sentences  # jobs with more than one row
    lost: Sentences  # jobs that succeeded and have none
    stray: Sentences  # jobs that did not succeed, or that nobody submitted, and have one
    follow_ups: int  # jobs of follow-ups that have a row
    follow_ups_lost: Sentences
    follow_ups_doubled: Sentences

    @property
    def wrong(self) -> dict[str, Sentences]:
        """Return what must not be, by its name in the closing line."""
        return {
            "doubled effects": self.doubled,
            "lost effects": self.lost,
            "stray effects": self.stray,
            "follow-ups lost": self.follow_ups_lost,
            "follow-ups doubled": self.follow_ups_doubled,
        }

    @property
    def good(self) -> bool:
        return not any(self.wrong.values())

    @property
    def line(self) -> str:
        wrong = ", ".join(f"{name} {len(found)}" for name, found in self.wrong.items())
        return f"effects {self.rows}, follow-ups {self.follow_ups}, {wrong}"


def read(said: str) -> list[Effect]:
    """Read what psql says to SELECT."""
    found = (line.split("|") for line in said.splitlines())
    return [Effect(job, parent or None, int(number or 0), int(count)) for job, parent, number, count in found]


def account(effects: Sequence[Effect], stored: Mapping[str, Row]) -> Effects:
    """Hold the table against the jobs of the effects' queue, as the store has them, all of which should have ended."""
    rows = Counter(one.job for one in effects)
    jobs = {one.job: one for one in effects}
    due = {(job, number) for job, one in jobs.items() for number in range(one.follow_ups)}
    there = Counter((one.parent, one.number) for one in jobs.values() if one.parent)
    states = {job: stored[job].state if job in stored else "unknown to the store" for job in jobs}
    return Effects(
        len(effects),
        doubled=tuple(f"{job} has {count} rows" for job, count in rows.items() if count > 1),
        lost=tuple(f"{job} has no row" for job, row in stored.items() if row.state == "succeeded" and job not in rows),
        stray=(
            *(f"{job} has a row and is {state}" for job, state in states.items() if state != "succeeded"),
            *(f"{jobs[job].job} is a follow-up of {one}" for job, one in _of_nobody(jobs, due).items()),
        ),
        follow_ups=there.total(),
        follow_ups_lost=tuple(f"follow-up {number} of {job} has no row" for job, number in sorted(due - there.keys())),
        follow_ups_doubled=tuple(f"{one[1]} of {one[0]}: {count} jobs" for one, count in there.items() if count > 1),
    )


def _of_nobody(jobs: Mapping[str, Effect], due: set[tuple[str, int]]) -> dict[str, str]:
    """Return the follow-ups that no row submitted, with what they call their parent."""
    return {job: one.parent for job, one in jobs.items() if one.parent and (one.parent, one.number) not in due}
