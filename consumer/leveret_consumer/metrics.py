"""What this process tells Prometheus: its slots, dropped replies, itself. What jobs do is counted by the producers, from events."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from leveret.rabbitmq.reply_drops import REPLIES_DROPPED, Dropped
from leveret_consumer.load import Load


class Slots(Collector):
    """leveret_consumer_slots{queue,state=busy|idle}, read at the time of the scrape."""

    def __init__(self, queue: str, load: Load) -> None:
        self._queue, self._load = queue, load

    def collect(self) -> Iterator[GaugeMetricFamily]:
        slots = GaugeMetricFamily(
            "leveret_consumer_slots", "Slots of this consumer: jobs that it can run at once.", labels=("queue", "state")
        )
        busy = self._load.busy
        slots.add_metric((self._queue, "busy"), busy)
        slots.add_metric((self._queue, "idle"), self._load.slots - busy)
        yield slots


class RepliesDropped(Collector):
    """leveret_replies_dropped_total{queue,reason}."""

    def __init__(self, queue: str, load: Load) -> None:
        self._queue, self._load = queue, load

    def collect(self) -> Iterator[CounterMetricFamily]:
        dropped = CounterMetricFamily("leveret_replies_dropped", REPLIES_DROPPED, labels=("queue", "reason"))
        for reason in Dropped:
            dropped.add_metric((self._queue, reason), self._load.replies_dropped[reason])
        yield dropped


def registry(queue: str, load: Load) -> CollectorRegistry:
    own = CollectorRegistry()
    own.register(Slots(queue, load))
    own.register(RepliesDropped(queue, load))
    ProcessCollector(registry=own)
    PlatformCollector(registry=own)
    GCCollector(registry=own)
    return own
