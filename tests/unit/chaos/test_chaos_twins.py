"""Which runs of a job went on at the same time, what excuses them, and what does not."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos import twins
from chaos.evidence import Accepted, Happened, Presence
from chaos.jobs import Job
from chaos.plan import Fault, Kind, Part
from chaos.twins import Why, pairs

NOW = 1_000.0
READ_AT = NOW + 500
STAY = Job(Part.LONG, "stay", {})
CUT_OFF = Presence("j", 1, 0, "async", "pod-a", "7-a", NOW, NOW + 130, "cancelled")
TWIN = Presence("j", 1, 1, "async", "pod-b", "7-b", NOW + 95, NOW + 120, "returned")
COPY = replace(TWIN, delivery=0)


def happened(kind: Kind, part: Part, pods: Sequence[str] = (), other: Part | None = None, at: float = 0) -> Happened:
    return Happened(Fault(1, 0, kind, part, other), NOW + at, NOW + at + 100, tuple(pods))


CUT = happened(Kind.CUT, Part.LONG, ["pod-a"], Part.BROKER)
LOST_CONFIRM = happened(Kind.KILL, Part.PRODUCER)
DEATH = happened(Kind.KILL, Part.BROKER, ["rabbit"])


def found(*runs: Presence, faults: Sequence[Happened] = (CUT,), sent: int = 1) -> list[tuple[Why, float]]:
    accepted = Accepted("j", STAY, NOW, sent)
    return [(pair.why, pair.seconds) for pair in pairs(accepted, runs, faults, READ_AT)]


def thread(run: Presence) -> Presence:
    return replace(run, kind="thread")


def process(run: Presence) -> Presence:
    return replace(run, kind="cpu")


@pytest.mark.parametrize(
    ("runs", "seconds"),
    [
        pytest.param([CUT_OFF, TWIN], 25, id="the twin ended first"),
        pytest.param([TWIN, CUT_OFF], 25, id="in whatever order they are told"),
        pytest.param([replace(CUT_OFF, ended=NOW + 100), TWIN], 5, id="the one that was cut off ended first"),
        pytest.param([process(CUT_OFF), process(TWIN)], 25, id="processes"),
        pytest.param([replace(CUT_OFF, last="gone"), TWIN], 25, id="one was killed at last"),
        pytest.param([CUT_OFF, replace(TWIN, attempt=2, delivery=0)], 25, id="the next attempt"),
        pytest.param([CUT_OFF, replace(TWIN, pod="pod-a", process="7-a")], 25, id="in one process"),
        pytest.param([replace(CUT_OFF, ended=None, last=None), TWIN], 25, id="one that goes on yet"),
        pytest.param(
            [replace(CUT_OFF, ended=None, last=None), replace(TWIN, ended=None, last=None)], 405, id="both go on yet"
        ),
    ],
)
def test_two_runs_at_the_same_time_are_twins(runs: list[Presence], seconds: float) -> None:
    assert found(*runs) == [(Why.TWINS, seconds)]


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param([CUT_OFF], id="one run"),
        pytest.param([replace(CUT_OFF, ended=NOW + 60), TWIN], id="it was stopped in time"),
        pytest.param([replace(CUT_OFF, ended=NOW + 95.4), TWIN], id="by less than is noticed"),
        pytest.param([replace(CUT_OFF, ended=NOW + 60, last="gone"), TWIN], id="it was killed in time"),
        pytest.param(
            [replace(CUT_OFF, ended=NOW + 20, last="raised"), replace(TWIN, attempt=2, delivery=0)], id="a retry"
        ),
    ],
)
def test_runs_one_after_the_other_are_none(runs: list[Presence]) -> None:
    assert found(*runs) == []


@pytest.mark.parametrize(
    ("runs", "faults", "why"),
    [
        pytest.param([thread(CUT_OFF), thread(TWIN)], [CUT], Why.THREADS, id="threads"),
        pytest.param([CUT_OFF, COPY], [LOST_CONFIRM], Why.COPIES, id="two messages beside what can make two"),
        pytest.param([CUT_OFF, COPY], [happened(Kind.CLOCK, Part.ODD)], Why.TWINS, id="two messages beside nothing"),
        pytest.param([CUT_OFF, TWIN], [LOST_CONFIRM], Why.TWINS, id="one message beside what can make two"),
        pytest.param([CUT_OFF, TWIN], [CUT, DEATH], Why.UNREACHABLE, id="the broker died while it was cut off"),
        pytest.param([CUT_OFF, TWIN], [DEATH], Why.TWINS, id="the broker died"),
        pytest.param(
            [CUT_OFF, TWIN], [CUT, replace(DEATH, began=NOW + 101, ended=NOW + 120)], Why.TWINS, id="it died later"
        ),
        pytest.param(
            [CUT_OFF, TWIN],
            [replace(CUT, pods=("pod-c",)), DEATH],
            Why.TWINS,
            id="another consumer was cut off as the broker died",
        ),
        pytest.param(
            [CUT_OFF, TWIN],
            [happened(Kind.CUT, Part.URLS, ["pod-a"], Part.TARGETS), DEATH],
            Why.TWINS,
            id="it was cut off from others than the broker",
        ),
    ],
)
def test_what_excuses_two_at_the_same_time_is_told_apart(
    runs: list[Presence], faults: list[Happened], why: Why
) -> None:
    assert [each for each, _ in found(*runs, faults=faults)] == [why]


def test_a_message_that_its_client_sent_twice_may_run_twice_at_the_same_time() -> None:
    assert [why for why, _ in found(CUT_OFF, COPY, faults=(), sent=2)] == [Why.COPIES]


ENDED = replace(CUT_OFF, ended=NOW + 2, last="returned")
HERE = replace(TWIN, pod="pod-a", process="7-a")


@pytest.mark.parametrize(
    ("first", "second", "forgotten"),
    [
        pytest.param(ENDED, HERE, True, id="it had returned"),
        pytest.param(replace(ENDED, last="raised"), HERE, True, id="it had raised"),
        pytest.param(thread(ENDED), thread(HERE), True, id="in a thread"),
        pytest.param(replace(ENDED, last="cancelled"), HERE, False, id="it had been cancelled"),
        pytest.param(replace(ENDED, last="gone"), HERE, False, id="it had been killed"),
        pytest.param(ENDED, TWIN, False, id="another process cannot know"),
        pytest.param(ENDED, replace(HERE, process="7-c"), False, id="nor can the next one of the same pod"),
        pytest.param(process(ENDED), process(HERE), False, id="a process of its own remembers nothing"),
        pytest.param(ENDED, replace(HERE, delivery=0), False, id="another message"),
        pytest.param(ENDED, replace(HERE, attempt=2), False, id="another attempt"),
    ],
)
def test_what_had_ended_does_not_run_again_in_its_process(first: Presence, second: Presence, forgotten: bool) -> None:
    """Of the attempts that ended beside a lost connection only as many were remembered as there are slots."""
    assert [why for why, _ in found(first, second)] == [Why.FORGOTTEN] * forgotten


TIMES = st.floats(0, 300)
RUNS = st.lists(
    st.builds(
        lambda began, length, delivery, kind: Presence(
            "j", 1, delivery, kind, "pod-a", f"{began}", NOW + began, NOW + began + length, "cancelled"
        ),
        TIMES,
        TIMES,
        st.integers(0, 5),
        st.sampled_from(["async", "thread", "cpu"]),
    ),
    max_size=6,
)


@given(runs=RUNS)
def test_a_moment_in_which_two_go_on_is_seen_whatever_else_ran(runs: list[Presence]) -> None:
    """No rule of excuses hides an overlap: each is told as something."""
    together = any(
        min(one.ended or 0, other.ended or 0) - max(one.began, other.began) > twins.NOTICED + 0.001
        for number, one in enumerate(runs)
        for other in runs[:number]
    )

    said = pairs(Accepted("j", STAY, NOW), runs, [CUT], READ_AT)

    assert not together or any(pair.seconds > twins.NOTICED for pair in said)
    assert [pair.seconds for pair in said] == sorted((pair.seconds for pair in said), reverse=True)


def test_a_pair_is_told_so_that_it_can_be_looked_for() -> None:
    (pair,) = pairs(Accepted("j", STAY, NOW), [CUT_OFF, TWIN], [CUT], READ_AT)

    assert str(pair) == (
        "j (chaos-long) ran at the same time: attempt 1, delivery 0 on pod-a (async, 1000.0 to 1130.0, cancelled), "
        "attempt 1, delivery 1 on pod-b (1095.0 to 1120.0, returned): 25.0 s together"
    )
