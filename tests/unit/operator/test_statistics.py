"""What nodes and the management API say, read into depths."""

from datetime import UTC, datetime

import pytest

from leveret.scaling.backlog import Depth
from leveret_operator.broker_statistics import parse_detailed, parse_management

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


def test_a_management_row_of_zeros_is_no_knowledge() -> None:
    body = b"""[{"name":"a","vhost":"/","messages_ready":0,"messages_unacknowledged":0,"messages":0},
    {"name":"b","vhost":"/","messages_ready":0,"messages_unacknowledged":4},
    {"name":"c","vhost":"other","messages_ready":1,"messages_unacknowledged":4}, {"name":"d","vhost":"/"}]"""
    assert parse_management(body, NOW, "/") == {"b": Depth(NOW, 0, 4)}


def test_what_is_no_list_is_refused() -> None:
    with pytest.raises(ValueError, match="not a list of queues"):
        parse_management(b'{"error":"not_authorised"}', NOW, "/")
