"""When a consumer believes that the broker has lost it: two looks that find the same, and nothing that came between."""

import pytest
from msgspec.structs import replace

from leveret_consumer.intake import TICK
from leveret_consumer.subscription import Look, lost, next_look

WELL = Look(consumers=3, ready=0, delivered=17, room=True)
SUSPICIOUS = [
    pytest.param(replace(WELL, consumers=0), id="nobody consumes the queue"),
    pytest.param(replace(WELL, ready=5), id="messages are ready and none comes"),
    pytest.param(replace(WELL, consumers=0, shares=False), id="nobody is active or waits to be"),
]
FINE = [
    pytest.param(WELL, id="nothing is ready"),
    pytest.param(replace(WELL, ready=5, room=False), id="there is no room"),
    pytest.param(replace(WELL, ready=5, shares=False), id="another consumer is the active one"),
]


@pytest.mark.parametrize("found", SUSPICIOUS)
def test_the_second_look_in_a_row_counts(found: Look) -> None:
    assert not lost(None, found)
    assert not lost(WELL, found)
    assert lost(found, found)
    assert not lost(found, replace(found, delivered=18)), "something came"
    assert not lost(found, WELL)


@pytest.mark.parametrize("found", FINE)
def test_what_is_well_never_counts(found: Look) -> None:
    assert not lost(found, found)
    assert next_look(found) == 5


@pytest.mark.parametrize("found", SUSPICIOUS)
def test_a_loss_is_found_and_mended_within_ten_seconds(found: Look) -> None:
    assert next_look(None) + TICK + next_look(found) + TICK <= 8, "two looks, each up to a tick late"
