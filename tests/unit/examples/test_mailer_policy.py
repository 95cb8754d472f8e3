"""mailer's decisions: what an answer means, when a server is left alone, whose turn it is, and how long a try waits."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.mailer.policy import (
    FAILURES,
    FIRST_OPEN,
    LONGEST_OPEN,
    LONGEST_TRIAL,
    LONGEST_WAIT,
    Breaker,
    Meaning,
    Stage,
    in_order,
    meaning,
    spacing,
    wait_before,
)

SENT, LATER, REFUSED, DOWN, DOUBT = Meaning.SENT, Meaning.LATER, Meaning.REFUSED, Meaning.DOWN, Meaning.DOUBT
BEFORE_MAIL = (Stage.CONNECT, Stage.EHLO, Stage.STARTTLS, Stage.AUTH)


@pytest.mark.parametrize(
    ("stages", "code", "means"),
    [
        pytest.param([one for one in Stage if one is not Stage.DOT], None, DOWN, id="lost before the mail's end: no doubt"),
        pytest.param([Stage.DOT], None, DOUBT, id="lost after it"),
        pytest.param([Stage.DOT], 250, SENT, id="taken"),
        pytest.param([Stage.DOT], -1, DOUBT, id="an answer that can't be read, after it"),
        pytest.param([Stage.DOT], 354, DOUBT, id="an answer that is none, after it"),
        pytest.param([Stage.RCPT, Stage.DATA], -1, DOWN, id="an answer that can't be read, before it"),
        pytest.param(BEFORE_MAIL, 451, DOWN, id="4xx before any mail"),
        pytest.param(BEFORE_MAIL, 535, DOWN, id="5xx before any mail"),
        pytest.param([Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT], 451, LATER, id="4xx of a mail"),
        pytest.param(list(Stage), 421, DOWN, id="it goes away"),
        pytest.param([Stage.MAIL], 550, DOWN, id="it does not know our sender"),
        pytest.param([Stage.RCPT, Stage.DATA, Stage.DOT], 550, REFUSED, id="5xx of a recipient or of the mail"),
        pytest.param([Stage.RCPT, Stage.DOT], 530, DOWN, id="it wants us to log in: no recipient's fault"),
        pytest.param([Stage.RCPT], 503, DOWN, id="out of order: no recipient's fault"),
    ],
)  # fmt: skip
def test_an_answer_means(stages: list[Stage], code: int | None, means: Meaning) -> None:
    assert {stage: meaning(stage, code) for stage in stages} == dict.fromkeys(stages, means)


@given(st.sampled_from(Stage), st.one_of(st.none(), st.integers(-1, 999)))
def test_a_doubt_is_only_about_the_end_of_a_mail(stage: Stage, code: int | None) -> None:
    assert meaning(stage, code) is not DOUBT or stage is Stage.DOT
    assert meaning(stage, code) is not SENT or (stage is Stage.DOT and code is not None)


def failed(times: int, now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(times):
        breaker = breaker.failed(now)
    return breaker


def test_a_server_that_fails_is_left_alone_then_tried_by_one_mail_and_asked_again_when_it_works() -> None:
    almost = failed(FAILURES - 1)
    assert almost.ask(0) == almost
    opened = almost.failed(100)
    assert opened.ask(100 + FIRST_OPEN - 0.1) is None
    now = 100 + FIRST_OPEN
    trial = opened.ask(now)
    assert trial is not None
    assert trial.ask(now + 1) is None, "the others wait for that one"
    assert trial.ask(now + LONGEST_TRIAL) is not None, "a trial whose end nobody told is not waited for"
    again = trial.failed(now + 5)
    assert again.ask(now + 5 + 2 * FIRST_OPEN - 0.1) is None, "twice as long"
    assert again.ask(now + 5 + 2 * FIRST_OPEN) is not None


def test_talks_that_began_before_a_breaker_opened_do_not_hold_it_open() -> None:
    assert failed(FAILURES + 50) == failed(FAILURES)


def test_it_is_asked_again_at_last_however_often_it_failed() -> None:
    breaker, now = failed(FAILURES), 0.0
    for _ in range(5_000):
        now = breaker.until
        trial = breaker.ask(now)
        assert trial is not None
        breaker = trial.failed(now)
        assert breaker.until - now <= LONGEST_OPEN


@given(
    rate=st.floats(0.1, 100),
    burst=st.integers(1, 50),
    pauses=st.lists(st.floats(0, 20) | st.just(0.0), min_size=1, max_size=200),
    window=st.floats(0.1, 60),
)
def test_in_no_window_go_more_than_the_rate_and_the_burst(
    rate: float, burst: int, pauses: list[float], window: float
) -> None:
    """The arithmetic of the statement in `store.reserve`, which an integration test holds to it."""
    between, ahead = spacing(SimpleNamespace(rate=rate, burst=burst))
    now, theoretical, grants = 0.0, 0.0, []
    for pause in pauses:
        now += pause
        theoretical = max(theoretical, now) + between
        grants.append(max(now, theoretical - ahead))
        assert grants[-1] >= now
    for start in grants:
        assert sum(start <= at < start + window for at in grants) <= rate * window + burst + 1e-6


@pytest.mark.parametrize(
    ("deferred", "order"), [(0, "abc"), (1, "abc"), (2, "bca"), (3, "bca"), (4, "cab"), (6, "abc"), (7, "abc")]
)
def test_who_defers_twice_is_asked_last(deferred: int, order: str) -> None:
    assert in_order("abc", deferred) == list(order)


def test_no_server_is_no_order() -> None:
    assert in_order([], 7) == []


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 5), (2, 10), (3, 20), (6, 160), (7, 300), (10**6, LONGEST_WAIT)])
def test_a_wait_is_twice_the_one_before(attempt: int, seconds: float) -> None:
    assert wait_before(attempt, 5.0) == seconds
