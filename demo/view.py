"""The live view: one frame for one snapshot, the same for the same snapshot, from 80 columns on."""

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.curves import Point, shares, sparkline
from demo.snapshot import Snapshot, Tally, rate, rates

SHOWN_DECISIONS = 5
LABEL = 14
NUMBER = 8

# In the order of the bar.
_COLOURS = {
    "succeeded": "green",
    "dead": "red",
    "running": "cyan",
    "retrying": "yellow",
    "waiting": "bright_black",
}


def frame(now: Snapshot, width: int) -> RenderableType:
    """Return the view of a snapshot for a terminal of so many columns."""
    inner = width - 4
    parts: list[RenderableType] = [
        _panel(_results(now.tally, inner), f"{now.tally.total:,} URLs in queue {now.queue}", clock(now.elapsed)),
        _panel(_curves(now, inner), "over time", f"0:00 to {clock(now.elapsed)}"),
        _panel(_decisions(now), "what the operator decided", None),
    ]
    if now.trouble:
        parts.append(
            Text(f"Waiting for fresh numbers: {now.trouble}", style="yellow", overflow="ellipsis", no_wrap=True)
        )
    else:
        parts.append(Text("Ctrl-C stops watching; the jobs go on.", style="bright_black"))
    return Group(*parts)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}"


def _panel(content: RenderableType, title: str, right: str | None) -> Panel:
    return Panel(content, title=f"[bold]{title}[/]", title_align="left", subtitle=right, subtitle_align="right")


def _results(tally: Tally, width: int) -> RenderableType:
    counts = dict(
        zip(_COLOURS, (tally.succeeded, tally.dead, tally.running, tally.retrying, tally.waiting), strict=True)
    )
    bar = Text()
    columns = shares(list(counts.values()), width)
    for (name, colour), length in zip(_COLOURS.items(), columns, strict=True):
        bar.append(("█" if name in ("succeeded", "dead") else "▒") * length, style=colour)
    legend = Text(no_wrap=True, overflow="ellipsis")
    for name, colour in _COLOURS.items():
        legend.append(f"{name} {counts[name]:,}   ", style=colour)
    share = 100 * tally.finished / tally.total if tally.total else 0
    summary = Text(f"{share:.0f} % finished, {tally.retries:,} retries so far", style="bold")
    return Group(bar, legend, summary)


def _curves(now: Snapshot, width: int) -> RenderableType:
    samples, last = now.samples, now.last
    replicas: list[Point] = [(sample.at, sample.replicas) for sample in samples]
    desired: list[Point] = [(sample.at, sample.desired) for sample in samples]
    most = max((value for _, value in (*replicas, *desired) if value is not None), default=1) or 1
    speed = rates(samples)
    rows: list[tuple[str, str, list[Point], float | None, float | None]] = [
        (
            "finished/s",
            "green",
            [(s.at, v) for s, v in zip(samples, speed, strict=True)],
            rate(samples, now.elapsed),
            None,
        ),
        ("backlog", "cyan", [(s.at, s.backlog) for s in samples], last.backlog, None),
        ("pods wanted", "magenta", desired, last.desired, most),
        ("pods there", "blue", replicas, last.replicas, most),
    ]
    table = Table.grid(padding=0)
    table.add_column(width=LABEL)
    table.add_column(width=NUMBER, justify="right")
    table.add_column(width=2)
    table.add_column(width=width - LABEL - NUMBER - 2, no_wrap=True)
    for label, colour, points, value, top in rows:
        line = sparkline(points, width=width - LABEL - NUMBER - 2, until=now.elapsed, top=top)
        table.add_row(label, Text(number(value), style="bold"), "", Text(line, style=colour))
    return table


def _decisions(now: Snapshot) -> RenderableType:
    if not now.decisions:
        return Text("nothing yet", style="bright_black")
    lines = []
    for one in now.decisions[-SHOWN_DECISIONS:]:
        since, change = clock(max(0.0, (one.time - now.began).total_seconds())), f"{one.before} → {one.after}"
        line = Text(no_wrap=True, overflow="ellipsis").append(f"{since:>5}  ", style="bright_black")
        lines.append(line.append(f"{change:<8}", style="bold").append(f" {one.reason:<13}  {one.message}"))
    return Group(*lines)
