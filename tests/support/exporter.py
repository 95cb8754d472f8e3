"""A system that isn't there, as its metrics: every name and label that Leveret's processes export, with moving values.

`Pretended.advance` moves it on; `python tests/support/exporter.py PORT` serves it live, to look at panels without a
cluster.
"""

import random
import sys
import time
from math import ceil, sin

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Pretended:
    """Two queues with bursts, scaled by their backlog."""

    def __init__(self, registry: CollectorRegistry, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._registry = registry
        self._gauges: dict[str, Gauge] = {}
        self._queues = {"leveret.bench": _Queue(0.1, 10), "leveret.url-check": _Queue(1.2, 50)}
        self._time = 0.0
        self._decided = self._counter("leveret_scaling_decisions", "queue", "reason")
        self._reaction = self._histogram("leveret_scaling_reaction_seconds", "queue")
        self._submitted = self._counter("leveret_jobs_submitted", "queue")
        self._finished = self._counter("leveret_jobs_finished", "queue", "outcome")
        self._retries = self._counter("leveret_job_retries", "queue")
        self._given_back = self._counter("leveret_given_back", "queue")
        self._dropped = self._counter("leveret_replies_dropped", "queue", "reason")
        self._set_aside = self._counter("leveret_events_set_aside")
        self._wait = self._histogram("leveret_job_wait_seconds", "queue")
        self._run = self._histogram("leveret_job_run_seconds", "queue")
        self._confirm = self._histogram("leveret_publish_confirm_seconds")
        self._writes = self._counter("leveret_kubernetes_writes", "kind")
        self._requests = self._counter("leveret_broker_requests", "kind")

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._time += seconds
        for name, queue in self._queues.items():
            self._advance(name, queue, seconds)
        self._requests.labels("bulk").inc()
        self._set_aside.inc()
        for _ in range(5):
            self._confirm.observe(self._random.lognormvariate(-4.6, 0.6))
        self._set("leveret_outbox_pending", max(0, round(self._random.gauss(4, 6))))
        self._set("leveret_control_complete_age_seconds", self._time % 300)
        self._set("leveret_recorder_lag_seconds", abs(self._random.gauss(0.05, 0.03)))

    def _advance(self, name: str, queue: "_Queue", seconds: float) -> None:
        arrived = self._arrivals(name) * seconds
        done = min(queue.backlog + arrived, queue.there * queue.slots / queue.run * seconds)
        queue.backlog = max(0.0, queue.backlog + arrived - done)
        busy = min(round(queue.backlog), queue.there * queue.slots)
        queue.dead += (dead := round(done * 0.0004 + self._random.random() * 0.5) if done else 0)
        self._count(name, queue, arrived, done - dead, dead)
        self._scale(name, queue)
        wait = queue.backlog / max(1.0, queue.there * queue.slots / queue.run)
        said = {
            "leveret_queue_ready": round(queue.backlog) - busy,
            "leveret_queue_unacked": busy,
            "leveret_queue_dead_letters": queue.dead,
            "leveret_queue_oldest_age_seconds": wait,
            "leveret_queue_arrival_rate": arrived / seconds,
            "leveret_queue_completion_rate": done / seconds,
            "leveret_cancels_live": round(queue.backlog / 20),
            "leveret_scaling_replicas": queue.there,
            "leveret_scaling_ready_replicas": queue.there,
            "leveret_scaling_desired_replicas": queue.wanted,
        }
        for metric, value in said.items():
            self._set(metric, value, queue=name)
        self._set("leveret_consumer_slots", busy, queue=name, state="busy")
        self._set("leveret_consumer_slots", queue.there * queue.slots - busy, queue=name, state="idle")

    def _arrivals(self, name: str) -> float:
        """Jobs per second: waves for one queue, a burst every ten minutes for the other."""
        if name == "leveret.url-check":
            return max(0.0, 60 + 45 * sin(self._time / 90) + self._random.gauss(0, 6))
        return 260.0 if self._time % 600 < 20 else (2.0 if self._time % 600 > 420 else 0.0)

    def _count(self, name: str, queue: "_Queue", arrived: float, good: float, dead: int) -> None:
        self._submitted.labels(name).inc(round(arrived))
        self._finished.labels(name, "succeeded").inc(max(0, round(good)))
        self._finished.labels(name, "dead").inc(dead)
        self._retries.labels(name).inc(round(good * 0.04))
        self._given_back.labels(name).inc(round(good * 0.01))
        self._dropped.labels(name, "full").inc(round(good * 0.01))
        wait = queue.backlog / max(1.0, queue.there * queue.slots / queue.run)
        for _ in range(min(40, round(good))):
            self._run.labels(name).observe(queue.run * self._random.lognormvariate(0, 0.4))
            self._wait.labels(name).observe(wait * self._random.random() + self._random.expovariate(20))

    def _scale(self, name: str, queue: "_Queue") -> None:
        queue.there = queue.wanted
        wants = min(10, ceil(queue.backlog / 100))
        queue.wants = [*queue.wants[-11:], wants]
        if (wanted := max(queue.wants)) != queue.wanted:
            self._decided.labels(name, "Backlog" if wanted > queue.wanted else "Stabilization").inc()
            self._reaction.labels(name).observe(self._random.lognormvariate(-1.2, 0.4))
            self._writes.labels("scale").inc()
            queue.wanted = wanted

    def _set(self, metric: str, value: float, **labels: str) -> None:
        if metric not in self._gauges:
            self._gauges[metric] = Gauge(metric, metric, tuple(labels), registry=self._registry)
        gauge = self._gauges[metric]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def _counter(self, name: str, *labels: str) -> Counter:
        return Counter(name, name, labels, registry=self._registry)

    def _histogram(self, name: str, *labels: str) -> Histogram:
        return Histogram(name, name, labels, registry=self._registry, buckets=SECONDS)


class _Queue:
    def __init__(self, run: float, slots: int) -> None:
        self.run, self.slots = run, slots
        self.backlog = 0.0
        self.dead = self.there = self.wanted = 0
        self.wants: list[int] = []


def main() -> None:
    registry = CollectorRegistry()
    pretended = Pretended(registry)
    start_http_server(int(sys.argv[1]), registry=registry)
    while True:
        pretended.advance(1.0)
        time.sleep(1.0)


if __name__ == "__main__":
    main()
