"""The retry policy: tables with the arithmetic beside them, and what holds for every policy."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret import wire
from leveret.retry import (
    LEVELS,
    LONGEST_WAIT,
    MOST_ATTEMPTS,
    Backoff,
    GiveUp,
    Jitter,
    RetryAfter,
    RetryPolicy,
    after_failure,
    delay_level,
    level_above,
)


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


PLAIN = Backoff(jitter=Jitter.NONE)  # 1 s, doubled, up to 600 s

WAITS = [
    pytest.param(PLAIN, 1, 0.9, 1, id="first: 1·2^0"),
    pytest.param(PLAIN, 2, 0.9, 2, id="second: 1·2^1"),
    pytest.param(PLAIN, 5, 0.9, 16, id="fifth: 1·2^4"),
    pytest.param(PLAIN, 10, 0.9, 512, id="tenth: 1·2^9"),
    pytest.param(PLAIN, 11, 0.9, 600, id="eleventh: 1·2^10 is above the max of 600"),
    pytest.param(PLAIN, 10_000, 0.9, 600, id="ten thousandth: no overflow"),
    pytest.param(Backoff(s(3), 1, s(600), Jitter.NONE), 10_000, 0.5, 3, id="factor 1 never grows"),
    pytest.param(Backoff(s(0), 2, s(600), Jitter.NONE), 10_000, 0.5, 0, id="initial 0 never waits"),
    pytest.param(Backoff(s(5), 10, s(5), Jitter.NONE), 3, 0.5, 5, id="initial is the max"),
    pytest.param(Backoff(), 3, 0.0, 0, id="full jitter: from 0"),
    pytest.param(Backoff(), 3, 0.25, 1, id="full jitter: a quarter of 1·2^2"),
    pytest.param(Backoff(), 10_000, 0.5, 300, id="full jitter: half of the max"),
]


@pytest.mark.parametrize(("backoff", "attempt", "draw", "seconds"), WAITS)
def test_the_wait_before_the_next_attempt(backoff: Backoff, attempt: int, draw: float, seconds: float) -> None:
    policy = RetryPolicy(max_attempts=20_000, backoff=backoff)
    assert after_failure(policy, attempt, draw) == RetryAfter(s(seconds))


@pytest.mark.parametrize(
    ("most", "attempt", "gives_up"),
    [(1, 1, True), (2, 1, False), (2, 2, True), (5, 4, False), (5, 5, True), (5, 99, True)],
)
def test_the_last_attempt_is_followed_by_none(most: int, attempt: int, gives_up: bool) -> None:
    assert isinstance(after_failure(RetryPolicy(most), attempt, 0.5), GiveUp) is gives_up


ASKED = [
    pytest.param(1, s(5), RetryAfter(s(5)), id="just so long, whatever draw and back-off"),
    pytest.param(2, s(90_000), RetryAfter(s(90_000)), id="longer than the back-off's max too"),
    pytest.param(2, s(0), RetryAfter(s(0)), id="at once"),
    pytest.param(2, s(-3), RetryAfter(s(0)), id="a time that is over is at once"),
    pytest.param(3, s(5), GiveUp(), id="the last attempt is the last"),
]


@pytest.mark.parametrize(("attempt", "asked", "then"), ASKED)
def test_a_wait_that_the_handler_names(attempt: int, asked: timedelta, then: RetryAfter | GiveUp) -> None:
    assert after_failure(RetryPolicy(3), attempt, 0.5, asked) == then


class Own(ConnectionError):
    """A user's class."""


CLASSES = [
    pytest.param(None, (), ValueError(), True, id="no classes: anything again"),
    pytest.param(None, (), SystemExit(), True, id="no classes: an exit too"),
    pytest.param((OSError,), (), OSError(), True, id="the class"),
    pytest.param((OSError,), (), Own(), True, id="a class below it"),
    pytest.param((OSError,), (), TimeoutError(), True, id="a time-out is an OSError in Python"),
    pytest.param((Own,), (), ConnectionError(), False, id="a class above it"),
    pytest.param((OSError,), (), ValueError(), False, id="none of them"),
    pytest.param((OSError, ValueError), (), ValueError(), True, id="the second"),
    pytest.param(None, (ValueError,), ValueError(), False, id="given up"),
    pytest.param(None, (ValueError,), UnicodeError(), False, id="given up: a class below"),
    pytest.param(None, (ValueError,), KeyError(), True, id="given up: another"),
    pytest.param((OSError,), (Own,), Own(), False, id="giving up wins"),
    pytest.param((Own,), (OSError,), Own(), False, id="giving up wins, from above too"),
    pytest.param((OSError,), (Own,), ConnectionError(), True, id="both, and it's only in the first"),
    pytest.param((ValueError,), (), ExceptionGroup("g", [ValueError()]), False, id="a group is not what's in it"),
]


@pytest.mark.parametrize(("retry_on", "give_up_on", "problem", "again"), CLASSES)
def test_which_exceptions_are_tried_again(retry_on: Any, give_up_on: Any, problem: BaseException, again: bool) -> None:
    policy = RetryPolicy(retry_on=retry_on, give_up_on=give_up_on)
    assert policy.tries_again(problem) is again
    assert hash(policy) == hash(RetryPolicy(retry_on=retry_on, give_up_on=give_up_on))


LEVEL_TABLE = [
    pytest.param(0, 0.0, None, id="no wait"),
    pytest.param(0.3, 0.29, 0, id="below 1 s: 1 s with probability 0.3"),
    pytest.param(0.3, 0.30, None, id="below 1 s: else at once"),
    pytest.param(1, 0.0, 0, id="just 1 s"),
    pytest.param(3, 0.49, 2, id="3 s is half way from 2 to 4: 4"),
    pytest.param(3, 0.50, 1, id="3 s is half way from 2 to 4: 2"),
    pytest.param(600, 0.1, 10, id="600 s: (600−512)/512 = 0.17 for 1,024"),
    pytest.param(600, 0.2, 9, id="600 s: else 512"),
    pytest.param(4095, 0.0, 12, id="just below the last level"),
    pytest.param(4096, 0.99, 12, id="the last level"),
    pytest.param(86_400, 0.0, 12, id="a day: the last level"),
]


@pytest.mark.parametrize(("seconds", "draw", "level"), LEVEL_TABLE)
def test_the_delay_level(seconds: float, draw: float, level: int | None) -> None:
    assert delay_level(s(seconds), draw) == level


WRONG = [
    pytest.param(lambda: Backoff(factor=0.5), "below 1", id="shrinking"),
    pytest.param(lambda: Backoff(s(10), max=s(1)), "initial ≤ max", id="initial above max"),
    pytest.param(lambda: Backoff(s(-1)), "0s ≤ initial", id="negative"),
    pytest.param(lambda: RetryPolicy(0), "1 to 32,767, not 0", id="no attempt"),
    pytest.param(lambda: RetryPolicy(32_768), "1 to 32,767, not 32,768", id="more than are counted"),
    pytest.param(lambda: RetryPolicy(retry_on=()), "nothing would be tried again", id="retry on nothing"),
    pytest.param(lambda: RetryPolicy(retry_on=ValueError), "must be a tuple of", id="a class alone"),  # type: ignore[arg-type]
    pytest.param(lambda: RetryPolicy(give_up_on=(int,)), "int.*no exception class", id="no exception"),  # type: ignore[arg-type]
    pytest.param(lambda: RetryPolicy(give_up_on=(ValueError("x"),)), "no exception class", id="an exception"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "says"), WRONG)
def test_values_that_contradict_each_other_are_refused(make: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()  # type: ignore[operator]


durations = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=1))
draws = st.floats(min_value=0, max_value=1, exclude_max=True)


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    initial, longest = sorted((draw(durations), draw(durations)))
    return Backoff(initial, draw(st.floats(1, 1e6)), longest, draw(st.sampled_from(Jitter)))


@given(backoffs(), st.integers(1, 10_000), draws)
def test_every_wait_is_within_its_bounds(backoff: Backoff, attempt: int, draw: float) -> None:
    after = after_failure(RetryPolicy(10_001, backoff), attempt, draw)
    assert isinstance(after, RetryAfter)
    assert timedelta(0) <= after.delay <= backoff.max
    if backoff.jitter is Jitter.NONE:
        assert after.delay >= backoff.initial


@given(backoffs(), st.integers(1, 10_000), draws)
def test_a_later_attempt_never_waits_less_for_the_same_draw(backoff: Backoff, attempt: int, draw: float) -> None:
    policy = RetryPolicy(20_000, backoff)
    one, next_one = after_failure(policy, attempt, draw), after_failure(policy, attempt + 1, draw)
    assert isinstance(one, RetryAfter)
    assert isinstance(next_one, RetryAfter)
    assert one.delay <= next_one.delay


@given(st.timedeltas(min_value=timedelta(0), max_value=LONGEST_WAIT))
def test_the_mean_of_the_levels_is_the_delay(delay: timedelta) -> None:
    """The draw is even in [0, 1), so the upper level's probability is where the answer changes: find it exactly."""
    seconds = delay.total_seconds()
    low, high = (waits(delay, almost_one), waits(delay, 0.0))
    if low == high:
        assert low == seconds
        return
    chance = (seconds - low) / (high - low)
    assert waits(delay, max(0.0, chance - 1e-9)) == high
    assert waits(delay, min(almost_one, chance + 1e-9)) == low
    assert low <= seconds < high


almost_one = 1 - 2**-53
classes = st.lists(
    st.sampled_from([Exception, OSError, ConnectionError, TimeoutError, ValueError, KeyError, LookupError, SystemExit])
).map(tuple)
problems = st.sampled_from([OSError(), Own(), TimeoutError(), UnicodeError(), KeyError(), IndexError(), SystemExit(1)])


@given(classes, classes, problems)
def test_more_classes_to_give_up_on_never_try_more_again(retry_on: Any, give_up_on: Any, problem: Any) -> None:
    again = RetryPolicy(retry_on=retry_on or None, give_up_on=give_up_on).tries_again(problem)
    assert again <= RetryPolicy(retry_on=retry_on or None).tries_again(problem)
    assert again <= RetryPolicy(give_up_on=give_up_on).tries_again(problem)
    assert again is (
        RetryPolicy(retry_on=retry_on or None).tries_again(problem) and not isinstance(problem, give_up_on)
    )


@given(backoffs(), st.integers(1, 20), st.integers(1, 20), draws, st.timedeltas())
def test_an_attempt_beyond_the_last_never_follows(
    backoff: Backoff, most: int, attempt: int, draw: float, asked: timedelta
) -> None:
    policy = RetryPolicy(most, backoff)
    for then in (after_failure(policy, attempt, draw), after_failure(policy, attempt, draw, asked)):
        assert isinstance(then, GiveUp) is (attempt >= most)
        assert isinstance(then, GiveUp) or then.delay >= timedelta(0)


@given(backoffs(), st.integers(1, 10_000), st.integers(1, 50))
def test_full_jitter_is_half_of_the_back_off_in_the_mean(backoff: Backoff, attempt: int, pairs: int) -> None:
    """Draws that lie evenly in [0, 1) have the mean 1/2; so have their waits, of what is waited without jitter."""
    jitter = RetryPolicy(20_000, replace(backoff, jitter=Jitter.FULL))
    plain = after_failure(RetryPolicy(20_000, replace(backoff, jitter=Jitter.NONE)), attempt, 0.5)
    even = [(2 * number + 1) / (2 * pairs) for number in range(pairs)]
    after = [after_failure(jitter, attempt, draw) for draw in even]
    assert isinstance(plain, RetryAfter)
    mean = sum((one.delay for one in after if isinstance(one, RetryAfter)), timedelta()) / pairs
    assert abs(mean - plain.delay / 2) <= timedelta(milliseconds=1)


@given(st.timedeltas(min_value=timedelta(seconds=1), max_value=LONGEST_WAIT), draws)
def test_a_level_is_one_of_the_two_beside_the_delay(delay: timedelta, draw: float) -> None:
    waited = timedelta(seconds=waits(delay, draw))
    assert delay / 2 < waited < 2 * delay


@given(st.timedeltas(min_value=timedelta(0), max_value=LONGEST_WAIT), draws, draws)
def test_a_larger_draw_never_waits_longer(delay: timedelta, one: float, other: float) -> None:
    assert waits(delay, max(one, other)) <= waits(delay, min(one, other))


def waits(delay: timedelta, draw: float) -> float:
    level = delay_level(delay, draw)
    return 0 if level is None else 2**level


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=10_000)), draws)
def test_a_level_is_one_that_there_is(delay: timedelta, draw: float) -> None:
    level = delay_level(delay, draw)
    assert level is None or 0 <= level < LEVELS


def test_the_most_attempts_are_those_that_a_message_can_tell() -> None:
    assert MOST_ATTEMPTS == wire.MOST
    assert isinstance(after_failure(RetryPolicy(MOST_ATTEMPTS), wire.MOST, 0.5), GiveUp)


@given(st.timedeltas(min_value=timedelta(0), max_value=LONGEST_WAIT))
def test_the_level_above_is_never_shorter_and_less_than_twice_as_long(wait: timedelta) -> None:
    level = level_above(wait)
    if level is None:
        assert wait == timedelta(0)
    else:
        assert wait <= s(2**level) <= max(2 * wait, s(1))
        assert s(2**level) < 2 * wait or level == 0
