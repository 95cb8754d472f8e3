"""Make the chart's Grafana dashboard from the list of panels, and with `--check` tell whether the file is up to date.

Run from the repository: `python -m charts.dashboards [--check]`. The same list always makes the same bytes.
"""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.builders import common as build
from grafana_foundation_sdk.builders import dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from leveret.panels import SECTIONS, Panel, Query, Shape, Unit

FILE = Path(__file__).parent / "leveret" / "dashboards" / "leveret.json"
WIDTH, HEIGHT = 8, 8  # of Grafana's 24 columns: three panels in a row, as on the page
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
UNITS = {
    Unit.JOBS: "short",
    Unit.PODS: "short",
    Unit.SLOTS: "short",
    Unit.SECONDS: "s",
    # Grafana's own rate units speak of requests and operations; ours are jobs and decisions.
    Unit.PER_SECOND: "suffix: /s",
    Unit.PER_MINUTE: "suffix: /min",
}


def render() -> str:
    """Return the dashboard as Grafana imports it."""
    made = (
        dashboard.Dashboard("Leveret")
        .uid("leveret")
        .description(
            "Queues, jobs and scaling. Made from leveret/panels.py; the producer's page shows the same panels."
        )
        .tags(["leveret"])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("5s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_queues())
    )
    number = 1
    for section in SECTIONS:
        made = made.with_row(dashboard.Row(section.title).id(number))
        number += 1
        for panel in section.panels:
            made = made.with_panel(_panel(panel, number))
            number += 1
    return json.dumps(made.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _queues() -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable("queue")
        .label("Queue")
        .datasource(SOURCE)
        .query('label_values({__name__=~"leveret_queue_ready|leveret_jobs_submitted_total"}, queue)')
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(True, "All", "$__all"))
    )


def _panel(panel: Panel, number: int) -> timeseries.Panel:
    steps = [Threshold(None, "green")]
    if panel.worry is not None:
        steps.append(Threshold(panel.worry, "red"))
    made = (
        timeseries.Panel()
        .id(number)
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(UNITS[panel.unit])
        .min(0)
        .span(WIDTH)
        .height(HEIGHT)
        .interval("15s")  # so that $__rate_interval is never below a minute
        .line_interpolation(_interpolation(panel))
        .line_width(2)
        .fill_opacity(6)
        .show_points(common.VisibilityMode.AUTO)  # a lone reading between two gaps is seen
        .span_nulls(False)
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .tooltip(build.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        .legend(
            build.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull"])
        )
    )
    if panel.unit in (Unit.JOBS, Unit.PODS, Unit.SLOTS):
        made = made.axis_soft_max(1)
    if panel.worry is not None:
        line = build.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
        made = made.thresholds_style(line)
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        made = made.with_target(_target(query, letter))
    return made


def _target(query: Query, letter: str) -> prometheus.Dataquery:
    legend = f"{{{{queue}}}} {query.name}" if query.by_queue else query.name
    promql = query.promql.replace("$window", "$__rate_interval")
    return prometheus.Dataquery().expr(promql).legend_format(legend).ref_id(letter).range().datasource(SOURCE)


def _interpolation(panel: Panel) -> common.LineInterpolation:
    return common.LineInterpolation.STEP_AFTER if panel.shape is Shape.STEP else common.LineInterpolation.LINEAR


def main() -> int:
    made = render()
    if "--check" not in sys.argv[1:]:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(made)
        return 0
    if FILE.exists() and FILE.read_text() == made:
        return 0
    print(f"{FILE.name} is not what the panels make: run `python -m charts.dashboards`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
