"""How full the outbox is, as one replica knows it between two counts."""

import itertools
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from leveret_producer.outbox.bound import MOST_FAILED, Bound, Known, OutboxFull
from leveret_producer.settings import read_settings


def _refuses(bound: Bound) -> bool:
    try:
        bound.admit(0)
    except OutboxFull:
        return True
    return False


def _stored(bound: Bound, jobs: int) -> Known:
    bound.admit(jobs)
    bound.stored(jobs)
    return bound.known(own=True)


def _confirmed(bound: Bound, known: Known, jobs: int, *, marked: bool = True) -> None:
    ids = [UUID(int=number) for number in range(jobs)]
    bound.confirmed([(one, known) for one in ids], ids if marked else ())


def test_it_is_full_by_what_this_replica_took_in_and_has_room_as_that_is_confirmed() -> None:
    bound = Bound(10)
    _stored(bound, 9)
    known = _stored(bound, 100)  # the last list is taken whole
    assert _refuses(bound)
    _confirmed(bound, known, 99)
    assert _refuses(bound)
    _confirmed(bound, known, 1)
    assert not _refuses(bound)


def test_a_count_corrects_what_was_reckoned_and_keeps_what_came_meanwhile() -> None:
    bound = Bound(10)
    _stored(bound, 10)
    bound.begin_count()
    bound.counted(0)  # another replica's ledger noted them
    assert not _refuses(bound)
    bound.begin_count()
    _stored(bound, 4)  # while it is counted
    bound.counted(6)
    assert _refuses(bound)
    bound.begin_count()
    bound.counted(9)
    assert not _refuses(bound)


def test_what_is_being_stored_when_a_count_begins_is_not_lost_by_it() -> None:
    """It is in no count before it's committed, and was taken as counted: a redrive went on though the outbox was full."""
    bound = Bound(10)
    bound.admit(10)
    bound.begin_count()
    bound.stored(10)
    bound.counted(0)
    assert _refuses(bound)
    bound.begin_count()
    bound.counted(9)
    assert not _refuses(bound)


def test_what_a_count_has_left_out_already_is_not_subtracted_from_it() -> None:
    """The recorder wrote it before the count, and its mark came after."""
    bound = Bound(10)
    known = _stored(bound, 20)
    bound.begin_count()
    bound.counted(10)
    _confirmed(bound, known, 10, marked=False)
    assert _refuses(bound)
    _confirmed(bound, known, 10, marked=True)
    assert not _refuses(bound)


def test_what_others_brought_and_this_replica_published_makes_no_room_for_more() -> None:
    bound = Bound(10)
    bound.begin_count()
    bound.counted(0)
    theirs = bound.known(own=False)
    _stored(bound, 10)
    _confirmed(bound, theirs, 10)
    assert _refuses(bound)


def test_a_count_that_came_to_nothing_changes_nothing() -> None:
    bound = Bound(10)
    bound.begin_count()
    bound.counted(8)
    _stored(bound, 1)
    bound.begin_count()
    _stored(bound, 1)
    assert not bound.not_counted()
    bound.begin_count()
    bound.counted(9)
    assert not _refuses(bound)


def test_an_outbox_that_can_not_be_counted_any_more_is_not_full_for_good() -> None:
    """What left through others was never heard of: the door stayed shut until a count succeeded."""
    bound = Bound(10)
    known = _stored(bound, 10)
    bound.begin_count()
    bound.counted(1_000)
    forgot = []
    for _ in range(MOST_FAILED):
        assert _refuses(bound)
        bound.begin_count()
        forgot.append(bound.not_counted())
    assert forgot == [False] * (MOST_FAILED - 1) + [True]
    _confirmed(bound, known, 10)  # of before
    _stored(bound, 9)
    assert not _refuses(bound)
    _stored(bound, 1)
    assert _refuses(bound)


def test_what_was_not_stored_needs_no_room() -> None:
    bound = Bound(10)
    bound.admit(10)
    bound.begin_count()
    bound.not_stored(10)
    assert not _refuses(bound)
    bound.counted(0)
    assert bound.waiting == 0


class Outbox(RuleBasedStateMachine):
    """An outbox that several replicas and the recorder work on, and the bound of one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.bound = Bound(1_000_000)
        self.ids = (UUID(int=number) for number in itertools.count(1))
        self.rows: set[UUID] = set()
        self.unheard: set[UUID] = set()  # others brought them since the count that holds
        self.since_snapshot: set[UUID] = set()  # the same, since the one that is under way
        self.storing: list[list[UUID]] = []
        self.known: dict[UUID, Known] = {}
        self.marking: tuple[list[UUID], set[UUID]] | None = None  # which are under way, and what it changed
        self.phase = "idle"  # then begun, then looked
        self.count = 0
        self.quiet = False  # nothing else happens while it is counted

    @rule(jobs=st.integers(1, 4))
    def submit_begins(self, jobs: int) -> None:
        self.bound.admit(jobs)
        self.storing.append([next(self.ids) for _ in range(jobs)])
        self.quiet = False

    @precondition(lambda self: self.storing)
    @rule(commits=st.booleans(), heard=st.booleans())
    def submit_ends(self, commits: bool, heard: bool) -> None:
        ids = self.storing.pop(0)
        self.quiet = False
        if not commits and heard:
            self.bound.not_stored(len(ids))
            return
        if commits:
            self.rows.update(ids)
        self.bound.stored(len(ids))
        if heard:
            self.known.update(dict.fromkeys(ids, self.bound.known(own=True)))

    @rule()
    def another_replica_brings_one(self) -> None:
        one = next(self.ids)
        self.rows.add(one)
        self.unheard.add(one)
        self.since_snapshot.add(one)
        self.quiet = False

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def the_recorder_or_another_replica_writes_one(self, data: st.DataObject) -> None:
        self.rows.discard(data.draw(st.sampled_from(sorted(self.rows))))
        self.quiet = False

    @precondition(lambda self: self.rows - self.known.keys())
    @rule(data=st.data())
    def takes_over(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(sorted(self.rows - self.known.keys())))
        self.known[one] = self.bound.known(own=False)

    @precondition(lambda self: self.known and self.marking is None and self.phase != "begun")
    @rule(data=st.data())
    def a_mark_is_written(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.known)), unique=True, min_size=1))
        self.marking = ids, self.rows & set(ids)
        self.rows -= set(ids)
        self.quiet = False

    @precondition(lambda self: self.marking is not None)
    @rule()
    def a_mark_is_heard_of(self) -> None:
        assert self.marking is not None
        (ids, changed), self.marking = self.marking, None
        self.bound.confirmed([(one, self.known.pop(one)) for one in ids], changed)

    @precondition(lambda self: self.phase == "idle" and self.marking is None)
    @rule()
    def a_count_begins(self) -> None:
        self.bound.begin_count()
        self.phase, self.quiet = "begun", not self.storing

    @precondition(lambda self: self.phase == "begun")
    @rule()
    def a_count_looks(self) -> None:
        self.count, self.phase = len(self.rows), "looked"
        self.since_snapshot = set()

    @precondition(lambda self: self.phase == "looked")
    @rule()
    def a_count_ends(self) -> None:
        self.bound.counted(self.count)
        self.unheard, self.phase = set(self.since_snapshot), "idle"
        if self.quiet:
            assert self.bound.waiting == len(self.rows)  # so no error outlives a count

    @precondition(lambda self: self.phase != "idle")
    @rule()
    def a_count_fails(self) -> None:
        self.phase = "idle"
        if self.bound.not_counted():
            self.unheard = set(self.rows)

    @invariant()
    def it_is_never_below_what_this_replica_knows(self) -> None:
        assert self.bound.waiting >= len(self.rows - self.unheard) + sum(map(len, self.storing))


TestBound = Outbox.TestCase


@given(st.lists(st.sampled_from(["submit", "mark", "recorder first"]), max_size=50), st.integers(0, 20))
def test_without_others_it_is_exact_once_what_left_is_heard_of(steps: list[str], counted: int) -> None:
    bound = Bound(1_000_000)
    bound.begin_count()
    bound.counted(counted)
    known: list[Known] = []
    for step in steps:
        if step == "submit":
            known.append(_stored(bound, 1))
        elif known:
            _confirmed(bound, known.pop(), 1, marked=step == "mark")
        assert bound.waiting == counted + len(known)


LIMITS = {"": 1_000_000, "1": 1, "250000": 250_000}


@pytest.mark.parametrize(("text", "limit"), LIMITS.items(), ids=map(repr, LIMITS))
def test_the_limit_is_read(text: str, limit: int) -> None:
    assert read_settings({"LEVERET_OUTBOX_LIMIT": text}).outbox_limit == limit


@pytest.mark.parametrize("text", ["0", "-1", "many", "1e6", "1.5", "²", "9" * 5_000])
def test_a_limit_that_can_not_be_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="LEVERET_OUTBOX_LIMIT"):
        read_settings({"LEVERET_OUTBOX_LIMIT": text})
