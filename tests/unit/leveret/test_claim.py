"""What is told of a virtual host that another installation has, from what the broker says and cuts at 255 bytes."""

import pytest

from leveret.rabbitmq.claim import _sentence

OWN, OTHERS = "a" * 32, "b" * 32


def refusal(vhost: str, own: str, other: str) -> str:
    text = (
        f"PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'leveret.installation' in vhost '{vhost}': "
        f"received 'leveret.installation.{own}' but current is 'leveret.installation.{other}'"
    )
    return text if len(text) <= 255 else text[:252] + "..."


def test_whose_it_is_is_told() -> None:
    assert f"'/' of the broker is the installation {OTHERS}'s" in _sentence(refusal("/", OWN, OTHERS), OWN, "/")


@pytest.mark.parametrize("vhost", ["jobs-staging", "v" * 40, "v" * 100], ids=["short", "long", "longest"])
@pytest.mark.parametrize("size", [32, 64])
def test_an_id_that_was_cut_is_not_told_as_if_it_were_whole(vhost: str, size: int) -> None:
    said = _sentence(refusal(vhost, "a" * size, "b" * size), "a" * size, vhost)
    assert "is another installation's, and this is the installation " + "a" * size in said
    assert "bb" not in said


def test_an_exchange_that_somebody_else_made_is_another_installations() -> None:
    said = _sentence("PRECONDITION_FAILED - inequivalent arg … but current is none", OWN, "/")
    assert "is another installation's" in said
