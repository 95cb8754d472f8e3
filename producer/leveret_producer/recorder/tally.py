"""Count what a committed batch tells about jobs; what was known before is not counted again.

But a message that was given back leaves no row of its own: where a recorder dies before its ack, that counts twice.
"""

from collections.abc import Sequence

from leveret.jobs import DeadReason, State
from leveret.retry import LONGEST_DELAY
from leveret_producer.metrics import Metrics
from leveret_producer.recorder.merge import AttemptId, Report
from leveret_producer.store.recording import Recorded

_LONGEST = LONGEST_DELAY.total_seconds()


def count(metrics: Metrics, reports: Sequence[Report], recorded: Recorded) -> None:
    for row in recorded.finished:
        if row.dead_reason != DeadReason.QUEUE_GONE:  # any client may name any queue: that would be a label each
            metrics.finished.labels(row.queue, row.state).inc()
    waited: set[AttemptId] = set()
    ended: set[AttemptId] = set()
    for report in reports:
        event = report.event
        if event.given_back:
            metrics.given_back.labels(report.queue).inc()
        attempt = (event.id, event.generation, event.attempt, event.delivery)
        if attempt not in recorded.attempts:
            continue
        if event.state is State.RUNNING or event.run_seconds is not None:
            metrics.begin(report.queue)  # there are as many queues as have consumers
        if event.wait_seconds is not None and attempt not in waited:
            waited.add(attempt)
            metrics.wait_seconds.labels(report.queue).observe(_seconds(event.wait_seconds))
        if event.state is State.RUNNING:
            continue
        if attempt in ended:
            continue
        ended.add(attempt)
        if event.state is State.RETRYING:
            metrics.retries.labels(report.queue).inc()
        if event.run_seconds is not None:
            metrics.run_seconds.labels(report.queue).observe(_seconds(event.run_seconds))


def _seconds(told: float) -> float:
    """A sum that has become infinite stays so."""
    return min(max(0.0, told), _LONGEST)
