"""Who judges a message that can't be run here, and who gives it back, and for how long."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.jobs import DeadReason
from leveret_consumer.present_version import LAST_LEVEL, Again, Limits, Told, gives_back, level_after

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
UNKNOWN, INVALID = DeadReason.UNKNOWN_TYPE, DeadReason.INVALID_PAYLOAD
REASONS = st.sampled_from(DeadReason)
VERSIONS = st.sampled_from(["", "old", "new"])
AGO = st.timedeltas(timedelta(0), timedelta(minutes=3))
SINCE = st.none() | st.datetimes(timezones=st.just(UTC))


def told(version: str | None = "new", *, ago: float = 3) -> Told:
    return Told(version, timedelta(seconds=ago))


def before(seconds: float) -> datetime:
    return NOON - timedelta(seconds=seconds)


CASES = [
    pytest.param(UNKNOWN, "old", told(), None, Again(0, NOON), id="an unknown type: for the first time"),
    pytest.param(INVALID, "old", told(), None, Again(0, NOON), id="an invalid payload, too"),
    pytest.param(UNKNOWN, "old", told(), before(1.1), Again(1, before(1.1)), id="for the second time"),
    pytest.param(UNKNOWN, "old", told(), before(599.9), Again(3, before(599.9)), id="just within ten minutes"),
    pytest.param(UNKNOWN, "old", told(), before(600), None, id="ten minutes are over"),
    pytest.param(UNKNOWN, "old", told(), NOON + timedelta(days=900), Again(0, NOON), id="since a time to come: now"),
    pytest.param(UNKNOWN, "old", told(ago=59.9), None, Again(0, NOON), id="told just within a minute"),
    pytest.param(UNKNOWN, "old", told(ago=60), None, None, id="told nothing for a minute"),
    pytest.param(UNKNOWN, "old", told(None), None, Again(0, NOON), id="told nothing yet"),
    pytest.param(UNKNOWN, "old", told(None, ago=60), None, None, id="told nothing in the first minute"),
    pytest.param(UNKNOWN, "new", told(), None, None, id="of the present version"),
    pytest.param(INVALID, "new", told(ago=59), before(9), None, id="of the present version, and it was given back"),
    pytest.param(UNKNOWN, "", told(), None, None, id="without a version"),
    pytest.param(UNKNOWN, "", told(None), None, None, id="without a version, and told nothing"),
    *(
        pytest.param(reason, "old", told(), None, None, id=f"{reason} is so by any version")
        for reason in DeadReason
        if reason not in (UNKNOWN, INVALID)
    ),
]


@pytest.mark.parametrize(("reason", "own", "heard", "since", "again"), CASES)
def test_who_judges(reason: DeadReason, own: str, heard: Told, since: datetime | None, again: Again | None) -> None:
    assert gives_back(reason, own, heard, since, NOON) == again


@pytest.mark.parametrize(
    ("seconds", "level"), [(0, 0), (0.99, 0), (1, 1), (2.99, 1), (3, 2), (6.99, 2), (7, 3), (15, 3), (599, 3)]
)
def test_the_waits_grow_from_one_to_eight_seconds(seconds: float, level: int) -> None:
    assert level_after(timedelta(seconds=seconds)) == level


@given(REASONS, VERSIONS, st.none() | VERSIONS, AGO, SINCE, st.datetimes(timezones=st.just(UTC)))
def test_only_what_another_version_may_find_otherwise_is_given_back_and_only_by_another(
    reason: DeadReason, own: str, version: str | None, ago: timedelta, since: datetime | None, now: datetime
) -> None:
    again = gives_back(reason, own, Told(version, ago), since, now)
    if again is not None:
        assert reason in (UNKNOWN, INVALID)
        assert own not in ("", version)
        assert ago < timedelta(seconds=60)
        assert timedelta(0) <= now - again.since < timedelta(minutes=10)
        assert 0 <= again.level <= LAST_LEVEL


@given(SINCE, st.randoms(use_true_random=False))
def test_nothing_goes_round_for_ever_whatever_a_client_wrote(since: datetime | None, delays: Random) -> None:
    """Nor if the consumers' clocks differ a bit."""
    limits, now, rounds = Limits(), NOON, 0
    for _ in range(700):
        again = gives_back(UNKNOWN, "old", told(), since, now, limits)
        if again is None:
            break
        assert since is None or again.since <= since, "the mark never grows younger"
        since, rounds = again.since, rounds + 1
        now += timedelta(seconds=2**again.level + delays.uniform(-0.9, 30))
    else:
        pytest.fail(f"given back {rounds} times")
    assert now - NOON <= limits.round_trips + timedelta(seconds=8 + 30)
