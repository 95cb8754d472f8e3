"""Which brokers are let in."""

import pytest

from leveret.rabbitmq.version import BrokerTooOld, check_version, parse_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        pytest.param("4.3.0", (4, 3), id="the-oldest"),
        pytest.param("4.3", (4, 3), id="without-a-patch"),
        pytest.param("4.3.0-rc.1", (4, 3), id="a-release-candidate-counts-as-its-release"),
        pytest.param("4.3.6+build.7", (4, 3), id="a-build"),
        pytest.param("4.10.1", (4, 10), id="ten-is-more-than-three"),
        pytest.param("5.0.0", (5, 0), id="the-next-major"),
    ],
)
def test_new_enough(text: str, version: tuple[int, int]) -> None:
    assert parse_version(text) == version
    check_version(text)


@pytest.mark.parametrize("text", ["3.13.7", "4.2.9", "4.2.0-rc.9", "0.9.1"])
def test_too_old(text: str) -> None:
    with pytest.raises(BrokerTooOld) as refused:
        check_version(text)
    for said in (f"RabbitMQ {text},", "needs 4.3 or later", "upgrade the broker"):
        assert said in str(refused.value)


@pytest.mark.parametrize(
    "said", [None, "", "unknown", "v4.3.0", "4", "4.x", "٤.٣.٠", 4.3, b"4.3.0", "9" * 5_000 + ".1"]
)
def test_what_can_not_be_read_is_not_believed(said: object) -> None:
    assert parse_version(said) is None
    with pytest.raises(BrokerTooOld, match="which can't be read, and Leveret needs RabbitMQ") as refused:
        check_version(said)
    assert len(str(refused.value)) < 400
