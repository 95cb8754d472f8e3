"""What the node's packet filter is told: every packet between two sides, and no other."""

from dataclasses import dataclass, field

import pytest

from chaos.cluster import Cluster, ClusterProblem, FarSide, Socket, cut_rules, sockets
from chaos.plan import Drops, Part

SLICE = """{"items": [
 {"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::2"]}], "ports": [{"port": 6443}]},
 {"addressType": "IPv4", "endpoints": [{"addresses": ["172.18.0.2"]}], "ports": [{"port": 6443}]}]}"""
PODS = """{"items": [
 {"metadata": {"name": "b"}, "status": {"phase": "Running", "podIP": "10.244.0.8"}},
 {"metadata": {"name": "a"}, "status": {"phase": "Running", "podIP": "10.244.0.7"}},
 {"metadata": {"name": "c"}, "status": {"phase": "Pending"}},
 {"metadata": {"name": "d"}, "status": {"phase": "Succeeded", "podIP": "10.244.0.6"}}]}"""


@dataclass(frozen=True, slots=True)
class Answering(Cluster):
    """A cluster whose kubectl says one thing."""

    says: str = ""
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def kubectl(self, *words: str, stdin: str | None = None, seconds: float = 0) -> str:
        self.asked.append(words)
        return self.says


def test_a_cut_between_pods_drops_both_ways() -> None:
    rules = cut_rules("fault7", "10.244.0.5", FarSide(("10.244.0.7", "10.244.0.8"))).splitlines()

    assert rules[0] == "add table inet leveret_chaos"
    assert [rule for rule in rules if "fault7_forward" in rule] == [
        "add chain inet leveret_chaos fault7_forward { type filter hook forward priority -10; policy accept; }",
        "add rule inet leveret_chaos fault7_forward ip saddr 10.244.0.5 ip daddr { 10.244.0.7, 10.244.0.8 } drop",
        "add rule inet leveret_chaos fault7_forward ip saddr { 10.244.0.7, 10.244.0.8 } ip daddr 10.244.0.5 drop",
    ]


SENT, RECEIVED = "ip saddr 10.244.0.5 ip daddr { 10.244.0.7 }", "ip saddr { 10.244.0.7 } ip daddr 10.244.0.5"


@pytest.mark.parametrize(
    ("drops", "rules"),
    [
        pytest.param(Drops.ALL, [f"{SENT} drop", f"{RECEIVED} drop"], id="all"),
        pytest.param(Drops.SENT, [f"{SENT} drop"], id="what it sends"),
        pytest.param(Drops.RECEIVED, [f"{RECEIVED} drop"], id="what it is sent"),
        pytest.param(
            Drops.MOST,
            [f"{way} limit rate over 2 kbytes/second burst 3 kbytes drop" for way in (SENT, RECEIVED)],
            id="all but a trickle",
        ),
    ],
)
def test_a_cut_may_be_on_one_side_or_let_a_trickle_through(drops: Drops, rules: list[str]) -> None:
    said = cut_rules("f", "10.244.0.5", FarSide(("10.244.0.7",)), drops).splitlines()

    for hook in ("forward", "input", "output"):
        begin = f"add rule inet leveret_chaos f_{hook} "
        assert [line.removeprefix(begin) for line in said if line.startswith(begin)] == rules


def test_connections_are_read_whether_written_as_ipv4_or_as_ipv6() -> None:
    said = """0      0             10.244.0.5:43210            10.96.7.1:5672
0      128  [::ffff:10.244.0.9]:5672  [::ffff:10.244.0.5]:43210
0      0                  [::1]:4369                [::1]:50001
"""

    assert sockets(said) == {
        Socket(43210, "10.96.7.1", 5672),
        Socket(5672, "10.244.0.5", 43210),
        Socket(4369, "::1", 50001),
    }
    assert sockets("") == set()


def test_a_cut_from_the_node_drops_one_port_where_packets_end_and_begin_there() -> None:
    rules = cut_rules("fault7", "10.244.0.5", FarSide(("172.18.0.2",), 6443))

    assert "fault7_input ip saddr 10.244.0.5 ip daddr { 172.18.0.2 } tcp dport 6443 drop\n" in rules
    assert "fault7_output ip saddr { 172.18.0.2 } ip daddr 10.244.0.5 tcp sport 6443 drop\n" in rules


async def test_the_far_side_is_every_pod_of_a_part_that_has_an_address() -> None:
    assert await Answering("kind-x", "ns", PODS).far_side(Part.BROKER) == FarSide(("10.244.0.7", "10.244.0.8"))


async def test_the_api_server_is_one_port_of_the_node() -> None:
    assert await Answering("kind-x", "ns", SLICE).far_side(Part.API_SERVER) == FarSide(("172.18.0.2",), 6443)


@pytest.mark.parametrize("part", [Part.BROKER, Part.API_SERVER])
async def test_what_is_nowhere_cannot_be_cut_off(part: Part) -> None:
    with pytest.raises(ClusterProblem, match="no address to be cut from"):
        await Answering("kind-x", "ns", '{"items": []}').far_side(part)
