"""What is written to the stream `leveret.control`, and which cancels are wanted still: from values. The clock is an argument."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from leveret.control import Cancel, CancelRule, Control, Snapshot, pack, until
from leveret.jobs import FINAL, State
from leveret_producer.store.cancels import Rule, Standing, Wanted, told_generation
from leveret_producer.store.commands import Command

# So long a cancel waits for a job that the store has not seen, or not in that generation.
UNSEEN_FOR = timedelta(days=1)


def new_commands(taken: Sequence[Command], now: datetime) -> Control:
    """Return the message of commands that were stored; a rule that stands no more is left out."""
    named = (Wanted(one.job, one.generation, one.queue) for one in taken if one.generation is not None)
    rules = (one.rule for one in taken if one.rule)
    return Control(now, [*cancels_of(named, now), *rules_of(rules, now)])


def cancels_of(wanted: Iterable[Wanted], now: datetime) -> list[Cancel | CancelRule]:
    """Return a command for each queue."""
    jobs: dict[str, list[tuple[UUID, int]]] = defaultdict(list)
    for one in wanted:
        jobs[one.queue].append((one.id, told_generation(one.generation)))
    return [Cancel(queue, pack(some), until(now)) for queue, some in jobs.items()]


def rules_of(rules: Iterable[Rule], now: datetime) -> list[Cancel | CancelRule]:
    return [CancelRule(one.queue, one.before, until(now), one.since, one.type) for one in rules]


@dataclass(slots=True)
class Sorted:
    """A page of cancels."""

    over: list[Wanted] = field(default_factory=list)
    again: list[Wanted] = field(default_factory=list)  # the database may end them, or a consumer by their names only
    named: list[Wanted] = field(default_factory=list)  # wanted still


def sorted_out(page: Sequence[Standing], now: datetime) -> Sorted:
    """Say what becomes of cancels: one whose job is final, or in a later generation, is over."""
    found = Sorted()
    for one in page:
        job = one.wanted
        here = one.state is not None and one.reached == job.generation
        final = one.state is not None and State(one.state) in FINAL
        if one.reached > job.generation or (here and final) or (not here and now - one.requested_at > UNSEEN_FOR):
            found.over.append(job)
        elif here and (one.alone or (not one.named and one.state == State.RUNNING)):
            found.again.append(job)
        elif one.named:
            found.named.append(job)
    return found


@dataclass(slots=True)
class SnapshotParts:
    """Numbers the messages of a snapshot."""

    id: UUID
    _next: int = 0

    def part(self, commands: list[Cancel | CancelRule], now: datetime) -> Control:
        self._next += 1
        return Control(now, commands, Snapshot(self.id, self._next - 1))

    def last(self, commands: list[Cancel | CancelRule], now: datetime) -> Control:
        self._next += 1
        return Control(now, commands, Snapshot(self.id, self._next - 1, self._next))


def chunked(commands: list[Cancel | CancelRule], size: int) -> Iterator[list[Cancel | CancelRule]]:
    """Yield commands, so many at a time; once, with none, where there are none."""
    for start in range(0, max(len(commands), 1), size):
        yield commands[start : start + size]
