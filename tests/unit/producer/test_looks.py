"""How far back is looked for jobs to publish, by what the looks before took."""

import pytest

from leveret_producer.outbox.looks import BACK, LONGEST_WAIT, Looks


@pytest.mark.parametrize(
    ("took", "waits"), [(0.002, 0.0), (0.1, 0.0), (0.2, 4.0), (1.0, 20.0), (4.0, LONGEST_WAIT)], ids=str
)
def test_a_look_over_everything_is_as_rare_as_it_is_long(took: float, waits: float) -> None:
    looks = Looks()
    assert looks.reach(100.0) is None
    looks.ended(None, 100.0, 100.0 + took, everything_taken=True)
    if waits:
        assert looks.reach(100.0 + took + waits - 0.01) == pytest.approx(took + waits - 0.01 + BACK)
    assert looks.reach(100.01 + took + waits) is None


def test_while_more_is_there_than_was_taken_each_look_begins_where_the_last_complete_one_did() -> None:
    looks = Looks()
    looks.ended(None, 0.0, 1.0, everything_taken=False)
    assert looks.reach(1.5) is None, "nothing is complete yet"
    looks.ended(None, 1.5, 2.5, everything_taken=True)
    looks.ended(looks.reach(3.0), 3.0, 3.1, everything_taken=False)
    assert looks.reach(4.0) == pytest.approx(4.0 - 1.5 + BACK)
    looks.ended(looks.reach(4.0), 4.0, 4.1, everything_taken=True)
    assert looks.reach(5.0) == pytest.approx(5.0 - 4.0 + BACK)


def test_where_no_look_over_everything_ends_in_time_what_comes_due_is_looked_for_and_it_is_told() -> None:
    looks = Looks()
    looks.failed(None, 0.0, 5.0)
    assert looks.reach(5.5) == pytest.approx(5.5 + BACK)
    looks.failed(looks.reach(6.0), 6.0, 11.0)
    assert looks.failing_for(30.0) == pytest.approx(30.0)
    assert looks.reach(5.0 + LONGEST_WAIT) is None
    looks.failed(None, 65.0, 70.0)
    assert looks.failing_for(70.0) == pytest.approx(70.0)
    looks.ended(None, 130.0, 131.0, everything_taken=True)
    assert looks.failing_for(140.0) is None
