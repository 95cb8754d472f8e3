"""The one list of panels from which the Grafana dashboard and the producer's page are made.

A panel is a value: what it is called, its unit, and its PromQL. Both renderers fill the same two placeholders, `$queue`
(a regular expression of queue names) and `$window` (what a rate is taken over), and nothing else, so they show the same.

How the queries are written: what the operator says is said once, so `max by` keeps the value right while an old and a
new operator pod overlap; what producers and consumers count is counted per pod, so rates are summed, and histograms are
summed per bucket before the quantile. What is not known is absent, and absent is drawn as a gap.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

RATE_WINDOW = timedelta(minutes=1)  # 12 scrapes of 5 s: one missed scrape does not show


class Unit(StrEnum):
    JOBS = "jobs"
    PODS = "pods"
    SLOTS = "slots"
    SECONDS = "s"
    PER_SECOND = "/s"
    PER_MINUTE = "/min"


class Shape(StrEnum):
    LINE = "line"
    STEP = "step"  # a number that stays as it is until it changes, as replicas do


@dataclass(frozen=True, slots=True)
class Query:
    """One query and the name of what it returns; `{{label}}` in the name stands for that label's value."""

    name: str
    promql: str

    @property
    def by_queue(self) -> bool:
        return "$queue" in self.promql


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    description: str  # one sentence for who sees it the first time
    unit: Unit
    queries: tuple[Query, ...]
    shape: Shape = Shape.LINE
    worry: float | None = None  # from this value on somebody should look

    @property
    def by_queue(self) -> bool:
        return any(query.by_queue for query in self.queries)


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table of queues: one number per queue, now."""

    title: str
    unit: Unit
    promql: str
    worry: float | None = None


def fill(promql: str, queue: str | Sequence[str] | None, window: timedelta = RATE_WINDOW) -> str:
    """Return the query for one queue or some, or for all of them with None."""
    # A name is a regular expression inside a PromQL string: both levels of escapes.
    names = [queue] if isinstance(queue, str) else queue or []
    escaped = [re.escape(name).replace("\\", "\\\\").replace('"', '\\"') for name in names]
    pattern = ".*" if queue is None else "|".join(escaped)
    seconds = round(max(window, RATE_WINDOW).total_seconds())
    return promql.replace("$queue", pattern).replace("$window", f"{seconds}s")


def _said(metric: str) -> str:
    """A number of the operator about a queue."""
    return f'max by (queue) ({metric}{{queue=~"$queue"}})'


def _rate(metric: str, *more: str) -> str:
    """Events per second, over all pods."""
    return f'sum by ({", ".join(("queue", *more))}) (rate({metric}{{queue=~"$queue"}}[$window]))'


def _quantiles(metric: str, window: str = "$window") -> tuple[Query, ...]:
    summed = f'sum by (le, queue) (rate({metric}_bucket{{queue=~"$queue"}}[{window}]))'
    return tuple(Query(f"p{round(100 * q)}", f"histogram_quantile({q}, {summed})") for q in (0.5, 0.95, 0.99))


_WORK = Section(
    "Work",
    (
        Panel(
            "Queue depth",
            "Jobs that wait in the broker, and jobs that a consumer holds and has not finished.",
            Unit.JOBS,
            (Query("waiting", _said("leveret_queue_ready")), Query("unacked", _said("leveret_queue_unacked"))),
        ),
        Panel(
            "Replicas",
            "Consumer pods there are, and how many the operator wants.",
            Unit.PODS,
            (
                Query("there", _said("leveret_scaling_replicas")),
                Query("wanted", _said("leveret_scaling_desired_replicas")),
            ),
            Shape.STEP,
        ),
        Panel(
            "Throughput",
            "Jobs accepted and jobs brought to an end, and the rate of completion that the operator reckons with.",
            Unit.PER_SECOND,
            (
                Query("submitted", _rate("leveret_jobs_submitted_total")),
                Query("finished", _rate("leveret_jobs_finished_total")),
                Query("reckoned", _said("leveret_queue_completion_rate")),
            ),
        ),
    ),
)

_TIME = Section(
    "Time",
    (
        Panel(
            "Oldest waiting job",
            "How long the oldest accepted job has waited for its start.",
            Unit.SECONDS,
            (Query("oldest", _said("leveret_queue_oldest_age_seconds")),),
        ),
        Panel(
            "Wait", "From submission to the start of an attempt.", Unit.SECONDS, _quantiles("leveret_job_wait_seconds")
        ),
        Panel("Run time", "How long one attempt runs.", Unit.SECONDS, _quantiles("leveret_job_run_seconds")),
    ),
)

_FAILURE = Section(
    "Failure",
    (
        Panel(
            "Outcomes",
            "How jobs end.",
            Unit.PER_SECOND,
            (Query("{{outcome}}", _rate("leveret_jobs_finished_total", "outcome")),),
        ),
        Panel(
            "Retries",
            "Attempts that failed and will be tried again.",
            Unit.PER_SECOND,
            (Query("retries", _rate("leveret_job_retries_total")),),
        ),
        Panel(
            "Dead letters",
            "Jobs that are dead, each with its reason, and wait for somebody.",
            Unit.JOBS,
            (Query("dead letters", _said("leveret_queue_dead_letters")),),
            Shape.STEP,
            worry=1,
        ),
    ),
)

_SCALING = Section(
    "Scaling",
    (
        Panel(
            "Slots",
            "What the consumers can run at once: busy and idle.",
            Unit.SLOTS,
            (Query("{{state}}", 'sum by (queue, state) (leveret_consumer_slots{queue=~"$queue"})'),),
            Shape.STEP,
        ),
        Panel(
            "Decisions",
            "Changes of the wanted replicas, by reason.",
            Unit.PER_MINUTE,
            (Query("{{reason}}", "60 * " + _rate("leveret_scaling_decisions_total", "reason")),),
        ),
        Panel(
            "Reaction",
            "From the first sign of work to the write of more replicas, over the last 10 minutes.",
            Unit.SECONDS,
            _quantiles("leveret_scaling_reaction_seconds", "10m")[:2],  # too rare for a minute
        ),
    ),
)

_STORE = Section(
    "Front door and store",
    (
        Panel(
            "Outbox",
            "Jobs that are stored and that the broker has not confirmed yet.",
            Unit.JOBS,
            (Query("pending", "max(leveret_outbox_pending)"),),
        ),
        Panel(
            "Recorder lag",
            "How far the stored states of jobs are behind what consumers report.",
            Unit.SECONDS,
            (Query("lag", "max(leveret_recorder_lag_seconds)"),),
            worry=30,
        ),
        Panel(
            "Publish confirm",
            "How long the broker takes to confirm what is published.",
            Unit.SECONDS,
            tuple(
                Query(
                    name,
                    f"histogram_quantile({q}, sum by (le) (rate(leveret_publish_confirm_seconds_bucket[$window])))",
                )
                for name, q in (("p50", 0.5), ("p95", 0.95))
            ),
        ),
    ),
)

_ASIDE = Section(
    "Put aside",
    (
        Panel(
            "Given back",
            "Deliveries that a consumer of another version gave back, because it can't run them.",
            Unit.PER_SECOND,
            (Query("given back", _rate("leveret_given_back_total")),),
        ),
        Panel(
            "Replies dropped",
            "Replies that were not sent, or not confirmed in time, by reason.",
            Unit.PER_MINUTE,
            (Query("{{reason}}", "60 * " + _rate("leveret_replies_dropped_total", "reason")),),
        ),
        Panel(
            "Events set aside",
            "Events that could not be recorded; leveret_producer.set_aside lists them.",
            Unit.PER_MINUTE,
            (Query("set aside", "60 * sum(rate(leveret_events_set_aside_total[$window]))"),),
            worry=0.1,
        ),
    ),
)

_CANCELS = Section(
    "Cancelling",
    (
        Panel(
            "Cancels",
            "Jobs that are to be cancelled, and that no consumer has ended yet.",
            Unit.JOBS,
            (Query("wanted", _said("leveret_cancels_live")),),
        ),
        Panel(
            "Since cancels were told",
            "Since all cancels that are wanted were last told to the consumers, which is done every 5 minutes.",
            Unit.SECONDS,
            (Query("since", "max(leveret_control_complete_age_seconds)"),),
            worry=900,
        ),
    ),
)

SECTIONS = (_WORK, _TIME, _FAILURE, _SCALING, _STORE, _ASIDE, _CANCELS)
PANELS = tuple(panel for section in SECTIONS for panel in section.panels)
SEEN = _said("leveret_queue_ready")  # every queue of a JobQueue has it, whatever else is known of it

# Only queues of a JobQueue have them, so this list is also the list of queues.
QUEUES_NOW = (
    Column("waiting", Unit.JOBS, _said("leveret_queue_ready")),
    Column("unacked", Unit.JOBS, _said("leveret_queue_unacked")),
    Column("backlog", Unit.JOBS, f"{_said('leveret_queue_ready')} + {_said('leveret_queue_unacked')}"),
    Column("wanted", Unit.PODS, _said("leveret_scaling_desired_replicas")),
    Column("there", Unit.PODS, _said("leveret_scaling_replicas")),
    Column("dead letters", Unit.JOBS, _said("leveret_queue_dead_letters"), worry=1),
    Column("oldest", Unit.SECONDS, _said("leveret_queue_oldest_age_seconds")),
    Column("in", Unit.PER_SECOND, _said("leveret_queue_arrival_rate")),
    Column("out", Unit.PER_SECOND, _said("leveret_queue_completion_rate")),
)
