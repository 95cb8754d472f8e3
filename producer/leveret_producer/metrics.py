"""What Prometheus sees of a producer, and of the jobs whose consumers may be gone before they are scraped.

A gauge whose value is not known shows nothing rather than 0.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from leveret.jobs import FINAL, State
from leveret.rabbitmq.reply_drops import REPLIES_DROPPED, Dropped

_CONFIRM = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WAIT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200)
_RUN = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800)


class KnownGauge(Collector):
    """A gauge without labels that is absent while `value` is None."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name, self._documentation = name, documentation
        self.value: float | None = None

    def collect(self) -> Iterable[GaugeMetricFamily]:
        if self.value is not None:
            yield GaugeMetricFamily(self._name, self._documentation, self.value)


class QueueGauge(Collector):
    """A gauge of every queue that something is known of; absent while `values` is None."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name, self._documentation = name, documentation
        self.values: Mapping[str, float] | None = None

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._documentation, labels=["queue"])
        for queue, value in (self.values or {}).items():
            family.add_metric([queue], value)
        yield family


class LagGauge(Collector):
    """How far something is behind, in seconds: while it waits that grows with each look; absent while it's not known."""

    def __init__(
        self, name: str, documentation: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._name, self._documentation, self._clock = name, documentation, clock
        self._since: datetime | None = None
        self._last: float | None = None

    def waits(self, since: datetime) -> None:
        """Tell since when the oldest of what is being done waits."""
        self._since = since

    def done(self) -> None:
        """Tell that it is done; what it waited holds until something else waits, or nothing does."""
        self._since, self._last = None, self._seconds()

    def nothing_waits(self) -> None:
        self._since, self._last = None, 0.0

    def not_known(self) -> None:
        self._since = self._last = None

    def collect(self) -> Iterable[GaugeMetricFamily]:
        seconds = self._seconds()
        if seconds is not None:
            yield GaugeMetricFamily(self._name, self._documentation, seconds)

    def _seconds(self) -> float | None:
        return self._last if self._since is None else max(0.0, (self._clock() - self._since).total_seconds())


class Metrics:
    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.submitted = Counter("leveret_jobs_submitted", "Jobs stored", ["queue"], registry=registry)
        self.finished = Counter(
            "leveret_jobs_finished", "Jobs whose final state was recorded", ["queue", "outcome"], registry=registry
        )
        self.retries = Counter("leveret_job_retries", "Attempts that are tried again", ["queue"], registry=registry)
        self.given_back = Counter(
            "leveret_given_back",
            "Times that a consumer of another version than the present one gave a job back",
            ["queue"],
            registry=registry,
        )
        self.wait_seconds = Histogram(
            "leveret_job_wait_seconds", "From when a job could run to its start", ["queue"], registry=registry,
            buckets=_WAIT,
        )  # fmt: skip
        self.run_seconds = Histogram(
            "leveret_job_run_seconds", "Run time of an attempt", ["queue"], registry=registry, buckets=_RUN
        )
        self.confirm_seconds = Histogram(
            "leveret_publish_confirm_seconds", "From publishing to the broker's confirm", registry=registry,
            buckets=_CONFIRM,
        )  # fmt: skip
        self.failures = Counter(
            "leveret_producer_failures", "Defects that ended a background task", ["task"], registry=registry
        )
        self.replies_dropped = Counter(
            "leveret_replies_dropped", REPLIES_DROPPED, ["queue", "reason"], registry=registry
        )
        self.set_aside = Counter("leveret_events_set_aside", "Events that can't be recorded", registry=registry)
        self.outbox_pending = KnownGauge(
            "leveret_outbox_pending", "Jobs that the broker has not confirmed, in the database that all replicas share"
        )
        self.recorder_lag = LagGauge(
            "leveret_recorder_lag_seconds",
            "Age of the oldest event that waits to be committed, or did in the last batch; 0 while none comes",
        )
        self.broker_blocked = KnownGauge(
            "leveret_producer_broker_blocked",
            "1 while the broker, short of memory or disk, takes no messages from here",
        )
        self.cancels_live = QueueGauge(
            "leveret_cancels_live", "Jobs that are to be cancelled, and that no consumer has ended yet"
        )
        self.control_complete_age = LagGauge(
            "leveret_control_complete_age_seconds",
            "Since all cancels that are wanted were last written to the consumers",
        )
        for gauge in (
            self.broker_blocked,
            self.outbox_pending,
            self.recorder_lag,
            self.cancels_live,
            self.control_complete_age,
        ):
            registry.register(gauge)
        self._begun: set[str] = set()
        self._begin_replies("")  # where no JobQueue has the queue

    def begin(self, queue: str) -> None:
        """Have all that is counted of a queue at 0 before any of it happens: a rate doesn't see what a series begins with."""
        if queue not in self._begun:
            self._begun.add(queue)
            for counted in (self.submitted, self.retries, self.given_back, self.wait_seconds, self.run_seconds):
                counted.labels(queue)
            for outcome in FINAL:
                self.finished.labels(queue, outcome)
            self._begin_replies(queue)

    def cancelled(self, ended: Mapping[str, int]) -> None:
        """Count jobs, of each queue, that the database alone has ended."""
        for queue, jobs in ended.items():
            self.finished.labels(queue, State.CANCELLED).inc(jobs)

    def _begin_replies(self, queue: str) -> None:
        for reason in Dropped:
            self.replies_dropped.labels(queue, reason)
