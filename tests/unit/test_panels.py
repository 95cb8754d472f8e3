"""The list of panels: it names only metrics that there are, and what is made from it is up to date."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from charts.dashboards import FILE, render
from leveret.panels import PANELS, QUEUES_NOW, Query, fill

# What the processes export, with the labels that a query may group or filter by.
METRICS = {
    "leveret_queue_ready": {"queue"},
    "leveret_queue_unacked": {"queue"},
    "leveret_queue_dead_letters": {"queue"},
    "leveret_queue_oldest_age_seconds": {"queue"},
    "leveret_queue_arrival_rate": {"queue"},
    "leveret_queue_completion_rate": {"queue"},
    "leveret_scaling_replicas": {"queue"},
    "leveret_scaling_ready_replicas": {"queue"},
    "leveret_scaling_desired_replicas": {"queue"},
    "leveret_scaling_decisions_total": {"queue", "reason"},
    "leveret_scaling_reaction_seconds": {"queue"},
    "leveret_broker_requests_total": {"kind"},
    "leveret_kubernetes_writes_total": {"kind"},
    "leveret_jobs_submitted_total": {"queue"},
    "leveret_jobs_finished_total": {"queue", "outcome"},
    "leveret_job_retries_total": {"queue"},
    "leveret_job_wait_seconds": {"queue"},
    "leveret_job_run_seconds": {"queue"},
    "leveret_publish_confirm_seconds": set(),
    "leveret_outbox_pending": set(),
    "leveret_recorder_lag_seconds": set(),
    "leveret_consumer_slots": {"queue", "state"},
    "leveret_given_back_total": {"queue"},
    "leveret_replies_dropped_total": {"queue", "reason"},
    "leveret_events_set_aside_total": set(),
    "leveret_cancels_live": {"queue"},
    "leveret_control_complete_age_seconds": set(),
}
QUERIES = [pytest.param(query, id=f"{panel.title} {query.name}") for panel in PANELS for query in panel.queries]
QUERIES += [pytest.param(Query(column.title, column.promql), id=f"table {column.title}") for column in QUEUES_NOW]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_a_metric_that_there_is_and_groups_by_its_labels(query: Query) -> None:
    named = re.findall(r"leveret_\w+", query.promql)
    assert named
    for metric in named:
        assert metric.removesuffix("_bucket") in METRICS
        labels = METRICS[metric.removesuffix("_bucket")]
        assert ("queue" in labels) == query.by_queue
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query.promql) for label in group.split(",")}
        assert grouped <= labels | {"le"}
        assert set(re.findall(r"\{\{(\w+)\}\}", query.name)) <= labels


@pytest.mark.parametrize("query", QUERIES)
def test_a_counter_is_drawn_as_a_rate_summed_over_pods(query: Query) -> None:
    if re.search(r"_(total|bucket)\b", query.promql):
        assert re.search(r"sum(?: by \([^)]*\) )?\(rate\(", query.promql)
    else:
        assert "rate(" not in query.promql


@pytest.mark.parametrize(
    ("queue", "window", "filled"),
    [
        pytest.param(None, timedelta(minutes=1), 'x{queue=~".*"}[60s]', id="all queues"),
        pytest.param("leveret.a-b", timedelta(minutes=1), r'x{queue=~"leveret\\.a\\-b"}[60s]', id="the dot is a dot"),
        pytest.param('a"} or y', timedelta(minutes=1), r'x{queue=~"a\"\\}\\ or\\ y"}[60s]', id="nobody gets out"),
        pytest.param(None, timedelta(minutes=2), 'x{queue=~".*"}[120s]', id="as wide as a step"),
        pytest.param(None, timedelta(seconds=5), 'x{queue=~".*"}[60s]', id="never below a minute"),
    ],
)
def test_both_placeholders_are_filled(queue: str | None, window: timedelta, filled: str) -> None:
    assert fill('x{queue=~"$queue"}[$window]', queue, window) == filled


def test_titles_tell_panels_apart() -> None:
    assert len({panel.title for panel in PANELS}) == len(PANELS)


def test_the_dashboard_is_what_the_panels_make() -> None:
    assert FILE.read_text() == render(), "run `python -m charts.dashboards`"


def test_the_dashboard_has_every_panel_in_order_and_its_queries_as_they_are() -> None:
    dashboard: dict[str, Any] = json.loads(FILE.read_text())
    drawn = [panel for panel in dashboard["panels"] if panel["type"] == "timeseries"]
    assert [panel["title"] for panel in drawn] == [panel.title for panel in PANELS]
    for made, panel in zip(drawn, PANELS, strict=True):
        exprs = [target["expr"].replace("$__rate_interval", "$window") for target in made["targets"]]
        assert exprs == [query.promql for query in panel.queries]
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"datasource", "queue"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
