"""The operator's metrics. A value that is not known is absent, never 0, and a queue that is gone leaves nothing behind.

Gauges are made from the last turn's numbers when they are asked for; the scraper's thread sees one whole snapshot.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class QueueNumbers:
    """What is known of one queue."""

    ready: int | None
    unacked: int | None
    dead_letters: int | None
    oldest_age_seconds: float | None
    arrival_rate: float | None
    completion_rate: float | None
    replicas: int | None
    desired_replicas: int | None
    ready_replicas: int | None = None


NOTHING_KNOWN = QueueNumbers(None, None, None, None, None, None, None, None)

_GAUGES = (
    ("leveret_queue_ready", "ready", "Jobs that wait in the queue"),
    ("leveret_queue_unacked", "unacked", "Jobs that consumers hold"),
    ("leveret_queue_dead_letters", "dead_letters", "Dead letters"),
    ("leveret_queue_oldest_age_seconds", "oldest_age_seconds", "Age of the oldest accepted job that has not started"),
    ("leveret_queue_arrival_rate", "arrival_rate", "Jobs a second that come in"),
    ("leveret_queue_completion_rate", "completion_rate", "Jobs a second that are finished"),
    ("leveret_scaling_replicas", "replicas", "Consumer pods there are"),
    ("leveret_scaling_ready_replicas", "ready_replicas", "Consumer pods that take jobs"),
    ("leveret_scaling_desired_replicas", "desired_replicas", "Consumer pods wanted"),
)
_REACTION_BUCKETS = (0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60)


class Metrics(Collector):
    """One per process, on its own registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._numbers: dict[str, QueueNumbers] = {}
        self._decisions = Counter(
            "leveret_scaling_decisions_total", "Changes of the wanted replicas", ("queue", "reason"), registry=registry
        )
        self._reaction = Histogram(
            "leveret_scaling_reaction_seconds",
            "From the first sign of work to the written scale-up",
            ("queue",),
            buckets=_REACTION_BUCKETS,
            registry=registry,
        )
        self._broker = Counter("leveret_broker_requests_total", "Requests to the broker", ("kind",), registry=registry)
        self._writes = Counter(
            "leveret_kubernetes_writes_total",
            "Writes to the Kubernetes API that succeeded",
            ("kind",),
            registry=registry,
        )
        self._failures = Counter(
            "leveret_operator_turn_failures_total", "Turns of the loop that failed", ("queue",), registry=registry
        )
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called by the scraper's thread."""
        numbers = self._numbers
        for name, field, text in _GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=("queue",))
            for queue, known in numbers.items():
                value = getattr(known, field)
                if value is not None:
                    gauge.add_metric((queue,), value)
            yield gauge

    def show(self, queue: str, numbers: QueueNumbers) -> None:
        self._reaction.labels(queue)  # 0 until there is one: a rate doesn't see what a series begins with
        self._failures.labels(queue)
        self._numbers = {**self._numbers, queue: numbers}

    def forget(self, queue: str) -> None:
        self._numbers = {name: numbers for name, numbers in self._numbers.items() if name != queue}
        for metric in (self._decisions, self._reaction, self._failures):
            metric.remove_by_labels({"queue": queue})

    def decided(self, queue: str, reason: str) -> None:
        self._decisions.labels(queue, reason).inc()

    def reacted(self, queue: str, seconds: float) -> None:
        self._reaction.labels(queue).observe(seconds)

    def asked_broker(self, kind: str) -> None:
        self._broker.labels(kind).inc()

    def wrote_kubernetes(self, kind: str) -> None:
        self._writes.labels(kind).inc()

    def turn_failed(self, queue: str) -> None:
        self._failures.labels(queue).inc()
