from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from leveret.jobs import FINAL, State, merge_key

STATES = st.sampled_from(State)
COUNTS = st.integers(0, 32_767)
GENERATIONS = st.integers(1, 32_767)


def test_the_life_of_a_job_goes_up_all_the_way() -> None:
    life = [
        merge_key(State.ACCEPTED, 1),
        merge_key(State.QUEUED, 1),
        merge_key(State.RUNNING, 1, attempt=1),
        merge_key(State.RUNNING, 1, attempt=1, delivery=1),  # its consumer died: the broker delivers it again
        merge_key(State.RETRYING, 1, attempt=1, delivery=1),
        merge_key(State.RUNNING, 1, attempt=2),
        merge_key(State.DEAD, 1, attempt=2),
        merge_key(State.SUCCEEDED, 1, attempt=2),  # both can be true of a job that ran twice: the effect happened
        merge_key(State.ACCEPTED, 2),  # redriven
    ]
    assert all(before < after for before, after in pairwise(life))


@given(STATES, GENERATIONS, COUNTS, COUNTS)
def test_a_key_fits_a_database_integer(state: State, generation: int, attempt: int, delivery: int) -> None:
    assert 0 <= merge_key(state, generation, attempt, delivery) < 2**63


@given(GENERATIONS, st.tuples(STATES, COUNTS, COUNTS), st.tuples(STATES, COUNTS, COUNTS))
def test_a_later_generation_always_wins(
    generation: int, one: tuple[State, int, int], two: tuple[State, int, int]
) -> None:
    earlier = merge_key(one[0], min(generation, 32_766), *one[1:])
    later = merge_key(two[0], min(generation, 32_766) + 1, *two[1:])
    assert earlier < later


@given(GENERATIONS, st.sampled_from(sorted(FINAL)), STATES, COUNTS, COUNTS)
def test_nothing_of_the_same_generation_moves_a_final_job_back(
    generation: int, final: State, state: State, attempt: int, delivery: int
) -> None:
    key = merge_key(state, generation, attempt, delivery)
    assert state in FINAL or key < merge_key(final, generation)


@given(st.integers(32_768, 10**9))
def test_absurd_counts_from_foreign_clients_do_not_overflow(number: int) -> None:
    assert merge_key(State.RETRYING, number, number, number) == merge_key(State.RETRYING, 32_767, 32_767, 32_767)
