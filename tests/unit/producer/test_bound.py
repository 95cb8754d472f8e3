"""How full the outbox is, as one replica knows it between two counts."""

import pytest

from leveret_producer.outbox.bound import Bound, OutboxFull
from leveret_producer.settings import read_settings


def _refuses(bound: Bound) -> bool:
    try:
        bound.admit(0)
    except OutboxFull:
        return True
    return False


def test_it_is_full_by_what_this_replica_took_in_and_has_room_as_that_is_confirmed() -> None:
    bound = Bound(10)
    bound.admit(9)
    bound.admit(100)  # the last list is taken whole
    assert _refuses(bound)
    bound.confirmed(99)
    assert _refuses(bound)
    bound.confirmed(1)
    assert not _refuses(bound)


def test_a_count_corrects_what_was_reckoned_and_keeps_what_came_meanwhile() -> None:
    bound = Bound(10)
    bound.admit(10)
    bound.begin_count()
    bound.counted(0)  # they were never stored, or another replica's ledger noted them
    assert not _refuses(bound)
    bound.begin_count()
    bound.admit(4)  # while it is counted
    bound.counted(6)
    assert _refuses(bound)
    bound.begin_count()
    bound.counted(9)
    assert not _refuses(bound)


def test_a_count_that_came_to_nothing_changes_nothing() -> None:
    bound = Bound(10)
    bound.begin_count()
    bound.counted(8)
    bound.admit(1)
    bound.begin_count()
    bound.admit(1)
    bound.begin_count()
    bound.counted(9)
    assert not _refuses(bound)


def test_what_was_not_stored_needs_no_room() -> None:
    bound = Bound(10)
    bound.admit(10)
    bound.not_stored(10)
    assert not _refuses(bound)


def test_more_confirms_than_were_counted_do_not_count_below_nothing() -> None:
    bound = Bound(1)
    bound.confirmed(50)
    assert not _refuses(bound)


LIMITS = {"": 1_000_000, "1": 1, "250000": 250_000}


@pytest.mark.parametrize(("text", "limit"), LIMITS.items(), ids=map(repr, LIMITS))
def test_the_limit_is_read(text: str, limit: int) -> None:
    assert read_settings({"LEVERET_OUTBOX_LIMIT": text}).outbox_limit == limit


@pytest.mark.parametrize("text", ["0", "-1", "many", "1e6", "1.5", "²", "9" * 5_000])
def test_a_limit_that_can_not_be_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="LEVERET_OUTBOX_LIMIT"):
        read_settings({"LEVERET_OUTBOX_LIMIT": text})
