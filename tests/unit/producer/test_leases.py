"""The leases of several replicas against rows as the database keeps them: nobody publishes what it doesn't surely hold.

Each statement takes a while before it's done, and again before that is heard of; meanwhile anything may happen.
"""

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from leveret_producer.outbox.leases import RENEW_AFTER, YOUNG, Leases
from leveret_producer.store.outbox import LEASE, Lease, Publication

START = datetime(2026, 1, 1, tzinfo=UTC)
REPLICAS, JOBS = 3, 4


@dataclass
class Replica:
    leases: Leases = field(default_factory=Leases)
    line: set[Publication] = field(default_factory=set)  # waits in memory
    sent: set[Publication] = field(default_factory=set)  # on its way
    # A statement that was asked for: when, about what, and its answer once it's done.
    taking: tuple[float, dict[Publication, Lease] | None] | None = None
    renewing: tuple[float, dict[Publication, Lease], dict[Lease, Lease] | None] | None = None
    releasing: list[Lease] = field(default_factory=list)


def publication(number: int) -> Publication:
    return Publication(UUID(int=number), 1, 1)


replicas = st.integers(0, REPLICAS - 1)


class Outbox(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.numbers = itertools.count()
        self.rows = {publication(next(self.numbers)): START for _ in range(JOBS)}  # until when each is leased
        self.replicas = [Replica() for _ in range(REPLICAS)]

    def end(self, seconds: float) -> datetime:
        """Return a time by the database's clock: no two statements have the same."""
        self.now += 0.00001
        return START + timedelta(seconds=self.now + seconds)

    def pick(self, data: st.DataObject, some: set[Publication]) -> Publication:
        return data.draw(st.sampled_from(sorted(some, key=lambda one: one.id)))

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 10.0, LEASE]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(number=replicas)
    def asks_for_what_is_free(self, number: int) -> None:
        one = self.replicas[number]
        one.taking = one.taking or (self.now, None)

    @rule(number=replicas)
    def it_is_taken(self, number: int) -> None:
        one = self.replicas[number]
        if one.taking and one.taking[1] is None:
            now, until = self.end(0), self.end(LEASE)
            free = [row for row, end in self.rows.items() if end <= now]
            self.rows.update(dict.fromkeys(free, until))
            one.taking = one.taking[0], {row: Lease(row.id, until) for row in free}

    @rule(number=replicas)
    def hears_what_it_has(self, number: int) -> None:
        one = self.replicas[number]
        if one.taking and one.taking[1] is not None:
            for row, lease in one.taking[1].items():
                if row not in one.leases:
                    one.line.add(row)
                one.leases.hold(row, lease, one.taking[0])
            one.taking = None

    @rule(number=replicas)
    def asks_to_renew(self, number: int) -> None:
        one = self.replicas[number]
        old = one.leases.old(self.now)
        if old and not one.renewing:
            one.renewing = self.now, old, None

    @rule(number=replicas)
    def it_is_renewed(self, number: int) -> None:
        one = self.replicas[number]
        if one.renewing and one.renewing[2] is None:
            asked_at, asked, _ = one.renewing
            ours, until = [row for row, lease in asked.items() if self.rows.get(row) == lease.until], self.end(LEASE)
            self.rows.update(dict.fromkeys(ours, until))
            one.renewing = asked_at, asked, {asked[row]: Lease(row.id, until) for row in ours}

    @rule(number=replicas)
    def hears_what_was_renewed(self, number: int) -> None:
        one = self.replicas[number]
        if one.renewing and one.renewing[2] is not None:
            asked_at, asked, new = one.renewing
            one.releasing += one.leases.renewed(asked, new, asked_at)
            one.renewing = None

    @precondition(lambda self: any(one.line for one in self.replicas))
    @rule(data=st.data())
    def publishes_or_gives_back(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from([one for one in self.replicas if one.line]))
        row = self.pick(data, one.line)
        one.line.discard(row)
        if not one.leases.young(row, self.now):
            one.releasing += one.leases.let_go([row])
            return
        assert row not in self.rows or self.rows[row] > self.end(LEASE - YOUNG - 0.1), "its lease is at its end"
        for other in self.replicas:
            assert other is one or not other.leases.young(row, self.now), "another replica believes that it has it"
        one.sent.add(row)

    @precondition(lambda self: any(one.line | one.sent for one in self.replicas))
    @rule(data=st.data())
    def is_refused_or_has_to_stop(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from([one for one in self.replicas if one.line | one.sent]))
        row = self.pick(data, one.line | one.sent)
        one.line.discard(row)
        one.sent.discard(row)
        one.releasing += one.leases.let_go([row])

    @rule(number=replicas, wait=st.sampled_from([0.0, 5.0]))
    def it_is_given_back(self, number: int, wait: float) -> None:
        one = self.replicas[number]
        for lease in one.releasing:
            row = publication(lease.id.int)
            if self.rows.get(row) == lease.until:
                self.rows[row] = self.end(wait)
        one.releasing.clear()

    @precondition(lambda self: any(one.sent for one in self.replicas))
    @rule(data=st.data())
    def is_confirmed_and_marked(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from([one for one in self.replicas if one.sent]))
        row = self.pick(data, one.sent)
        one.sent.discard(row)
        one.leases.let_go([row])
        if self.rows.pop(row, None):
            self.rows[publication(next(self.numbers))] = START  # so that there are always some

    @invariant()
    def what_is_in_hand_is_looked_after(self) -> None:
        for one in self.replicas:
            assert all(row in one.leases for row in one.line | one.sent)
            assert not one.leases.old(self.now) or self.now >= RENEW_AFTER


TestLeases = Outbox.TestCase
TestLeases.settings = settings(stateful_step_count=60)
