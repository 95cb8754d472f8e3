"""What Prometheus sees: how far the recorder is behind, with a clock that is moved; and what is counted of a queue."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from leveret.events import JobEvent
from leveret.jobs import State
from leveret.rabbitmq.replies import Dropped
from leveret_producer.metrics import LagGauge, Metrics
from leveret_producer.recorder import tally
from leveret_producer.recorder.merge import Report, attempts
from leveret_producer.store.recording import Recorded

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


class Scene:
    def __init__(self) -> None:
        self.now = NOON
        self.gauge = LagGauge("lag_seconds", "Lag", lambda: self.now)

    def shown(self, *, after: float = 0) -> float | None:
        self.now += timedelta(seconds=after)
        values = [sample.value for family in self.gauge.collect() for sample in family.samples]
        return values[0] if values else None


def test_what_waits_grows_older_with_each_look() -> None:
    scene = Scene()
    assert scene.shown() is None, "nobody has said anything yet"
    scene.gauge.nothing_waits()
    assert scene.shown(after=60) == 0
    scene.gauge.waits(scene.now - timedelta(seconds=2))
    assert [scene.shown(after=0), scene.shown(after=10), scene.shown(after=10)] == [2, 12, 22]
    scene.gauge.done()
    assert scene.shown(after=5) == 22, "what the last one waited"
    scene.gauge.nothing_waits()
    assert scene.shown() == 0


def test_it_is_not_known_once_the_connection_has_ended_though_something_waits() -> None:
    scene = Scene()
    scene.gauge.waits(NOON)
    scene.gauge.not_known()
    assert scene.shown(after=1) is None


def test_an_event_from_the_future_is_no_negative_lag() -> None:
    scene = Scene()
    scene.gauge.waits(NOON + timedelta(hours=1))
    assert scene.shown() == 0


COUNTED = [
    pytest.param("leveret_jobs_submitted_total", {}, id="submitted"),
    pytest.param("leveret_jobs_finished_total", {"outcome": "succeeded"}, id="succeeded"),
    pytest.param("leveret_jobs_finished_total", {"outcome": "dead"}, id="dead"),
    pytest.param("leveret_jobs_finished_total", {"outcome": "cancelled"}, id="cancelled"),
    pytest.param("leveret_job_retries_total", {}, id="retries"),
    pytest.param("leveret_given_back_total", {}, id="given back"),
    pytest.param("leveret_job_wait_seconds_count", {}, id="wait"),
    pytest.param("leveret_job_run_seconds_count", {}, id="run"),
    *(pytest.param("leveret_replies_dropped_total", {"reason": reason}, id=f"reply {reason}") for reason in Dropped),
]


@pytest.mark.parametrize(("name", "labels"), COUNTED)
def test_what_is_counted_of_a_queue_is_there_before_the_first_as_a_rate_needs_it(
    name: str, labels: dict[str, str]
) -> None:
    metrics = Metrics()
    reports = [Report("leveret.a", JobEvent(UUID(int=1), "t", State.RUNNING, NOON, "pod"))]
    tally.count(metrics, reports, Recorded(attempts=frozenset(row.id for row in attempts(reports))))
    assert metrics.registry.get_sample_value(name, {"queue": "leveret.a", **labels}) == 0


def test_a_queue_that_nobody_consumes_begins_nothing() -> None:
    metrics = Metrics()
    reports = [Report("made.up", JobEvent(UUID(int=1), "t", State.DEAD, NOON, "pod"))]
    tally.count(metrics, reports, Recorded(attempts=frozenset(row.id for row in attempts(reports))))
    assert metrics.registry.get_sample_value("leveret_given_back_total", {"queue": "made.up"}) is None


@pytest.mark.parametrize("reason", Dropped)
def test_what_is_dropped_of_no_queue_is_there_before_the_first(reason: Dropped) -> None:
    assert Metrics().registry.get_sample_value("leveret_replies_dropped_total", {"queue": "", "reason": reason}) == 0
