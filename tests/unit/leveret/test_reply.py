"""Where a reply may go."""

import pytest

from leveret.reply import address, may_reply_to

NAMES = [
    pytest.param("answers", True, id="a queue"),
    pytest.param("amq.rabbitmq.reply-to.g1h2AA.x", True, id="direct reply-to: an address"),
    pytest.param("amq.rabbitmq.reply-to", False, id="direct reply-to: not an address yet"),
    pytest.param("leveret.events", False, id="ours"),
    pytest.param("a.b.dead", False, id="dead letters"),
]


@pytest.mark.parametrize(("name", "may"), NAMES)
def test_a_reply_goes_to_a_queue_of_somebody_elses(name: str, may: bool) -> None:
    assert may_reply_to(name) is may


def test_an_address_that_the_broker_has_not_made_is_none() -> None:
    assert [address(name) for name in (None, "answers", "amq.rabbitmq.reply-to")] == [None, "answers", None]
