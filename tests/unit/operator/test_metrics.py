"""Unknown is absent, and what is gone leaves nothing."""

from prometheus_client import CollectorRegistry, generate_latest

from leveret_operator.metrics import Metrics, QueueNumbers

NUMBERS = QueueNumbers(5, None, 0, None, 1.5, None, 2, 3, ready_replicas=1)


def test_a_value_that_is_not_known_is_absent() -> None:
    registry = CollectorRegistry()
    Metrics(registry).show("leveret.a", NUMBERS)
    assert registry.get_sample_value("leveret_queue_ready", {"queue": "leveret.a"}) == 5
    assert registry.get_sample_value("leveret_queue_dead_letters", {"queue": "leveret.a"}) == 0
    assert registry.get_sample_value("leveret_scaling_ready_replicas", {"queue": "leveret.a"}) == 1
    assert registry.get_sample_value("leveret_queue_unacked", {"queue": "leveret.a"}) is None


def test_a_reaction_is_counted_from_the_first_as_a_rate_needs_it() -> None:
    registry = CollectorRegistry()
    Metrics(registry).show("leveret.a", NUMBERS)
    for name in ("leveret_scaling_reaction_seconds_count", "leveret_operator_turn_failures_total"):
        assert registry.get_sample_value(name, {"queue": "leveret.a"}) == 0


def test_a_queue_that_is_gone_leaves_nothing_behind() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for queue in ("leveret.a", "leveret.b"):
        metrics.show(queue, NUMBERS)
        metrics.decided(queue, "Backlog")
        metrics.reacted(queue, 0.2)
        metrics.turn_failed(queue)
    metrics.forget("leveret.a")
    text = generate_latest(registry).decode()
    assert "leveret.a" not in text
    assert 'leveret_scaling_decisions_total{queue="leveret.b",reason="Backlog"} 1.0' in text
