"""The arguments that make delivery safe. They can't be changed on a queue that exists, so each is held here."""

import pytest

from leveret import topology


def test_a_job_queue_sends_its_dead_letters_at_least_once_to_a_queue_of_its_own() -> None:
    made = topology.for_queue("leveret.url-check")
    jobs = next(queue for queue in made.queues if queue.name == "leveret.url-check")
    assert jobs.arguments == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 20,
        "x-dead-letter-exchange": "leveret.dead",
        "x-dead-letter-routing-key": "leveret.url-check",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    assert topology.Binding("leveret.dead", "leveret.url-check.dead", "leveret.url-check") in made.bindings
    assert topology.Binding("leveret.jobs", "leveret.url-check", "leveret.url-check") in made.bindings


def test_dead_letters_are_told_of_where_events_are() -> None:
    assert topology.Binding("leveret.dead", "leveret.events", "a.b") in topology.for_queue("a.b").bindings


def test_what_no_queue_takes_is_kept() -> None:
    shared = topology.shared()
    [jobs] = [exchange for exchange in shared.exchanges if exchange.name == "leveret.jobs"]
    assert jobs.arguments == {"alternate-exchange": "leveret.unroutable"}
    assert topology.Exchange("leveret.unroutable", "fanout") in shared.exchanges
    assert topology.Binding("leveret.unroutable", "leveret.unroutable") in shared.bindings
    [kept] = [queue for queue in shared.queues if queue.name == "leveret.unroutable"]
    assert kept.arguments == {"x-queue-type": "quorum", "x-delivery-limit": -1}


def test_dead_letters_can_land_before_anything_can_die() -> None:
    assert [queue.name for queue in topology.for_queue("a.b").queues] == ["a.b.dead", "a.b"]


def test_dead_letters_are_kept_for_ever() -> None:
    dead = topology.for_queue("a.b").queues[0]
    assert dead.arguments == {"x-queue-type": "quorum", "x-delivery-limit": -1, "x-single-active-consumer": True}


@pytest.mark.parametrize(("level", "milliseconds"), [(0, 1000), (1, 2000), (12, 4_096_000)])
def test_a_delay_level_brings_messages_home_by_their_routing_key(level: int, milliseconds: int) -> None:
    shared = topology.shared()
    queue = next(queue for queue in shared.queues if queue.name == f"leveret.delay.{level}")
    assert queue.arguments["x-message-ttl"] == milliseconds
    assert queue.arguments["x-dead-letter-exchange"] == "leveret.jobs"
    assert "x-dead-letter-routing-key" not in queue.arguments


def test_every_queue_is_a_quorum_queue_but_the_stream_of_commands() -> None:
    queues = topology.shared().queues + topology.for_queue("a.b").queues
    others = [queue for queue in queues if queue.arguments["x-queue-type"] != "quorum"]
    assert others == [
        topology.Queue(
            "leveret.control",
            {"x-queue-type": "stream", "x-max-age": "1D", "x-stream-max-segment-size-bytes": 1_000_000},
        )
    ]


def test_a_broker_of_an_older_version_lacks_the_queue_that_is_looked_for() -> None:
    assert topology.shared().queues[-1].name == "leveret.control"
