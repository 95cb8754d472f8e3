"""What nodes and the management API say, read into depths."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from leveret.scaling.backlog import Depth
from leveret.settings import Broker
from leveret_operator.broker_nodes import Identity, Nodes
from leveret_operator.broker_statistics import Statistics, identify, parse_detailed, put_together
from leveret_operator.freshness import fresh, missing
from leveret_operator.management_list import Listed, ManagementList, Row, Total, Zeros, believed

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE = """# TYPE rabbitmq_detailed_queue_messages_ready gauge
# HELP rabbitmq_detailed_queue_messages_ready Messages ready to be delivered to consumers
rabbitmq_detailed_queue_messages_ready{vhost="/",queue="leveret.a"} 5000
rabbitmq_detailed_queue_messages_ready{vhost="/",queue="q\\"uoted,queue="} 1
rabbitmq_detailed_queue_messages_unacked{vhost="/",queue="leveret.a"} 3.0e2
rabbitmq_detailed_queue_messages{vhost="/",queue="leveret.b"} 7
"""
TWO = 'rabbitmq_detailed_queue_messages_ready{vhost="/",queue="leveret.a"} 0\n'


def test_a_node_says_ready_and_unacked() -> None:
    depths = parse_detailed([ONE], NOW)
    assert depths["leveret.a"] == Depth(NOW, 5_000, 300)
    assert depths['q"uoted,queue='] == Depth(NOW, 1, None)
    assert "leveret.b" not in depths  # missing, not empty


def test_of_two_nodes_the_larger_number_counts() -> None:
    assert parse_detailed([ONE, TWO], NOW) == parse_detailed([TWO, ONE], NOW)
    assert parse_detailed([TWO, ONE], NOW)["leveret.a"].ready == 5_000


def test_a_node_says_who_it_is() -> None:
    line = (
        'rabbitmq_identity_info{rabbitmq_node="rabbit@n1",rabbitmq_cluster="c",rabbitmq_cluster_permanent_id="id-1"} 1'
    )
    assert identify(ONE) is None
    assert identify(f"{ONE}{line}\n{TWO}") == Identity("rabbit@n1", "id-1")


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


A, B, C = (Identity(f"rabbit@{name}", "id-1") for name in "abc")


def test_a_node_that_stops_is_missed_until_the_management_api_leaves_it_out() -> None:
    nodes = Nodes().after([A], {A.name, B.name, C.name}, at(0), "id-1").after([A, B, C], None, at(5), "id-1")
    assert nodes.silent(at(5)) == {}
    nodes = nodes.after([A, B], None, at(10), None)
    assert nodes.silent(at(10)) == {C.name: at(5)}
    nodes = nodes.after([A, B], {A.name, B.name, C.name}, at(15), None)
    assert nodes.silent(at(15)) == {C.name: at(5)}
    nodes = nodes.after([A, B], {A.name, B.name}, at(20), None)
    assert (nodes.silent(at(20)), nodes.cluster) == ({}, "id-1")


def test_a_node_that_nobody_can_tell_of_is_forgotten_after_ten_minutes() -> None:
    nodes = Nodes().after([A, B], None, at(0), "id-1").after([A], None, at(600), "id-1")
    assert nodes.silent(at(600)) == {B.name: at(0)}
    assert nodes.after([A], None, at(601), "id-1").silent(at(601)) == {}


MEMBERS = (A.name, B.name, C.name)
LED = Row("q", "running", A.name, MEMBERS, (A.name, B.name))
LEADERLESS = {
    "minority": Row("q", "minority", A.name, MEMBERS, (A.name,)),
    "leader-down": Row("q", "running", C.name, MEMBERS, (A.name, B.name)),
}


def test_zeros_of_the_management_api_are_knowledge_after_six_seconds_of_them() -> None:
    empty, rows = [Total("q", 0, 0)], {"q": LED}
    zeros: Zeros
    depths, zeros = believed(empty, rows, {}, at(0))
    assert depths == {}
    depths, zeros = believed(empty, rows, zeros, at(5))
    assert depths == {}
    depths, zeros = believed(empty, rows, zeros, at(10))
    assert depths == {"q": Depth(at(10), 0, 0)}
    depths, zeros = believed([Total("q", 0, 3)], rows, zeros, at(15))
    assert (depths, zeros) == ({"q": Depth(at(15), 0, 3)}, {})
    assert believed(empty, rows, zeros, at(20))[0] == {}, "they count from the newest work on"


def test_zeros_count_anew_under_another_leader() -> None:
    zeros: Zeros = {("q", B.name): at(-60), ("q", A.name): at(-6)}
    assert believed([Total("q", 0, 0)], {"q": LED}, zeros, NOW)[0] == {"q": Depth(NOW, 0, 0)}
    depths, zeros = believed(
        [Total("q", 0, 0)], {"q": msgspec.structs.replace(LED, leader=B.name)}, {("q", A.name): at(-60)}, NOW
    )
    assert (depths, zeros) == ({}, {("q", B.name): NOW})


class Lists:
    """A management API whose queue is empty."""

    def get(self, url: str, **_: object) -> "Lists":
        return self

    async def __aenter__(self) -> "Lists":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def raise_for_status(self) -> None:
        pass

    async def read(self) -> bytes:
        row = {"name": "q", "state": "running", "messages_ready": 0, "messages_unacknowledged": 0}
        return msgspec.json.encode([row])


@pytest.mark.parametrize("change", [{"host": "other"}, {"vhost": "other"}], ids=["host", "vhost"])
async def test_zeros_count_anew_on_another_broker(change: dict[str, str]) -> None:
    second, broker = 0, Broker("h", 5672, "u", "p", "/")
    http: Any = Lists()
    management = ManagementList(http, 15672, lambda: at(second), lambda kind: None)
    assert (await management.read(broker)).depths == {}
    second = 6
    assert (await management.read(broker)).depths == {"q": Depth(at(6), 0, 0)}
    second = 7
    assert (await management.read(replace(broker, **change))).depths == {}  # type: ignore[arg-type]


def said_by(node: Identity, ready: int) -> str:
    return (
        f'rabbitmq_identity_info{{rabbitmq_node="{node.name}",rabbitmq_cluster_permanent_id="{node.cluster}"}} 1\n'
        f'rabbitmq_detailed_queue_messages_ready{{vhost="/",queue="q"}} {ready}\n'
        f'rabbitmq_detailed_queue_messages_unacked{{vhost="/",queue="q"}} 0\n'
    )


@pytest.mark.parametrize(
    ("texts", "row", "depth"),
    [
        pytest.param([said_by(B, 9)], LED, 3, id="a-former-leader"),
        pytest.param([said_by(B, 9), said_by(A, 4)], LED, 4, id="a-former-leader-and-the-present-one"),
        pytest.param([said_by(A, 4)], LED, 4, id="the-leader"),
        pytest.param([said_by(B, 9)], Row("q", "running"), 9, id="no-leader-is-told"),
        pytest.param([TWO.replace("leveret.a", "q")], LED, 0, id="a-node-that-does-not-say-who-it-is"),
    ],
)
def test_of_a_queue_with_a_leader_only_its_node_is_listened_to(texts: list[str], row: Row, depth: int) -> None:
    listed = Listed({"q": row}, {"q": Depth(NOW, 3, 0)})
    assert put_together(texts, listed, NOW)["q"].ready == depth


def test_a_row_without_numbers_is_no_zero() -> None:
    assert believed([Total("q")], {"q": LED}, {("q", A.name): at(-60)}, NOW) == ({"q": Depth(NOW, None, None)}, {})


@pytest.mark.parametrize("row", LEADERLESS.values(), ids=LEADERLESS)
@pytest.mark.parametrize("ready", [0, 7], ids=["empty", "not-empty"])
def test_what_is_said_of_a_queue_without_a_leader_is_no_knowledge(row: Row, ready: int) -> None:
    assert believed([Total("q", ready, 0)], {"q": row}, {("q", row.leader): at(-60)}, NOW) == ({}, {})


def test_a_queue_that_only_one_list_has_is_no_knowledge() -> None:
    assert believed([Total("q", 7, 0)], {}, {}, NOW) == ({}, {})


def test_a_queue_of_another_kind_has_no_members() -> None:
    row = msgspec.json.decode(b'{"name":"classic","state":"running","node":"rabbit@a"}', type=Row)
    assert believed([Total("classic", 1, 0)], {"classic": row}, {}, NOW)[0] == {"classic": Depth(NOW, 1, 0)}


def test_a_node_that_is_silent_for_long_is_named_though_the_numbers_are_there() -> None:
    reading = Statistics(at(40), {}, silent={C.name: at(10)})
    assert fresh(reading, at(40)).reason == "Fresh", "it may be restarted"
    state = fresh(reading, at(41))
    assert (state.good, state.reason, state.wrong) == (True, "NodesSilent", True)
    assert "rabbit@c does not answer" in state.message


@pytest.mark.parametrize(
    ("reading", "problem", "reason", "text"),
    [
        pytest.param(None, "not asked yet", "SignalsStale", "(not asked yet)", id="nobody-answers"),
        pytest.param(Statistics(NOW), "port 15692: gone", "SignalsStale", "port 15692: gone", id="no-more"),
        pytest.param(
            Statistics(NOW, silent={C.name: at(-1)}, rows={"q": LEADERLESS["minority"]}), None, "NoLeader",
            "q has no leader: it needs most of its members rabbit@a, rabbit@b, rabbit@c, and up is rabbit@a",
            id="no-leader",
        ),
        pytest.param(
            Statistics(NOW, silent={B.name: at(-1), C.name: at(-1)}), None, "NodesSilent",
            "q is in no node's answer, and rabbit@b, rabbit@c do not answer", id="silent",
        ),
        pytest.param(Statistics(NOW, rows={"q": LED}), None, "SignalsStale", "believed after 6 s", id="a-first-zero"),
        pytest.param(
            Statistics(NOW, {"q": Depth(NOW, None, None)}, rows={"q": LED}), None, "SignalsStale",
            "lists q without its numbers, and its leader rabbit@a doesn't tell them either", id="no-totals",
        ),
        pytest.param(
            Statistics(NOW, unlisted="port 15672: 401"), None, "SignalsStale",
            "the management API would tell of all, port 15672: 401", id="not-allowed",
        ),
        pytest.param(Statistics(NOW), None, "SignalsStale", "has no numbers of q yet", id="a-new-queue"),
    ],
)  # fmt: skip
def test_why_a_queue_has_no_numbers(reading: Statistics | None, problem: str | None, reason: str, text: str) -> None:
    state = missing("q", reading, problem)
    assert (state.good, state.reason) == (False, reason)
    assert text in state.message
    assert state.message.endswith("nothing is taken away")
