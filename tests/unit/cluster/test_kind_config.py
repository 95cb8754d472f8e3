"""Host ports of a second cluster beside the first."""

import socket

import pytest

from clusterkit.cache import REPOSITORY
from clusterkit.console import Fail
from clusterkit.kind_config import host_ports, roles, shifted, taken

TEXT = """\
# hostPort: 1 in a comment is none
nodes:
  - role: control-plane
    extraPortMappings:
      - {hostPort: 8080, containerPort: 30080}
      - {containerPort: 30672, hostPort: 5672}
      - {hostPort: 15672, containerPort: 31672}   # hostPort: 2
"""


@pytest.mark.parametrize(
    ("offset", "ports"),
    [
        pytest.param(0, [8080, 5672, 15672], id="same"),
        pytest.param(1000, [9080, 6672, 16672], id="plain"),
        pytest.param(10000, [18080, 35672, 25672], id="moves-on-where-the-first-cluster-is"),
    ],
)
def test_shifted(offset: int, ports: list[int]) -> None:
    assert host_ports(shifted(TEXT, offset)) == ports


def test_shifted_changes_nothing_else() -> None:
    assert shifted(TEXT, 0) == TEXT


def test_no_port_is_a_sentence() -> None:
    with pytest.raises(Fail, match=r"host port 8080 \+ 60000 is not a port"):
        shifted(TEXT, 60000)


def test_our_own_configuration_fits_twice_on_one_machine() -> None:
    text = (REPOSITORY / "kind-config.yaml").read_text()
    first, second = host_ports(text), host_ports(shifted(text, 10000))
    assert len(first) == 10
    assert len({*first, *second}) == 20


def test_roles() -> None:
    assert roles(TEXT) == ["control-plane"]


def test_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert taken([port]) == [port]
    assert taken([port]) == []
