"""From a panel's series to lines with names, colours and a legend. Pure.

A queue has one colour on the whole page, the same as its row in the table: its name's, unless another queue has that; so few
change when others come and go. What is said about it differs by the dash.
With a single queue there is nothing to tell apart by colour, and the colours go to what is said.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from zlib import crc32

from leveret.panels import Panel
from leveret_producer.console.chart import Line, Window
from leveret_producer.console.numbers import bare
from leveret_producer.console.readings import Drawn

COLOURS, DASHES = 8, 4
MOST_LINES = 12  # in one panel: more can't be told apart
LONGEST_LABEL = 28  # characters
MEANINGS = {"succeeded": "good", "dead": "bad", "dead letters": "bad"}


@dataclass(frozen=True, slots=True)
class Named:
    """A line, what it says, and of which queue."""

    name: str
    queue: str | None
    line: Line


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    worry: bool = False  # somebody should look


@dataclass(frozen=True, slots=True)
class Key:
    """One line of a legend."""

    label: str
    style: str
    value: Cell


@dataclass(frozen=True, slots=True)
class Legend:
    """A list of keys, or, for several queues about which several things are said, a table of them."""

    keys: tuple[Key, ...]
    names: tuple[tuple[str, str], ...] = ()  # the table's columns: name, style
    rows: tuple[tuple[str, str, tuple[Cell, ...]], ...] = ()  # queue, style, values


@dataclass(frozen=True, slots=True)
class Look:
    """How a queue is told apart from the others."""

    colour: str
    label: str  # without the namespace where all have the same


def looks_of(queues: tuple[str, ...]) -> dict[str, Look]:
    """Return how each queue looks; the colour is the one that its name asks for, as far as that is free."""
    namespaces = {queue.partition(".")[0] for queue in queues if "." in queue}
    short = len(namespaces) == 1 and all("." in queue for queue in queues)
    named = {queue: queue.partition(".")[2] if short else queue for queue in queues}
    labels = {queue: shorten(name) for queue, name in named.items()}
    often = Counter(labels.values())
    colours = _colours(queues)
    return {
        queue: Look(f"c{colours[queue]}", label if often[label] == 1 else named[queue])
        for queue, label in labels.items()
    }


def shorten(name: str) -> str:
    """Leave out the middle of a long name: what tells names apart is mostly at their end."""
    if len(name) <= LONGEST_LABEL:
        return name
    head = (LONGEST_LABEL - 1) // 3
    return f"{name[:head]}…{name[head + 1 - LONGEST_LABEL :]}"


def _colours(queues: tuple[str, ...]) -> dict[str, int]:
    """Each its name's own; as many as there are colours give way to each other, so that few queues share none."""
    free = set(range(COLOURS))
    found = {}
    for wish, queue in sorted((crc32(queue.encode()), queue) for queue in queues):
        order = [(wish + step) % COLOURS for step in range(COLOURS)]
        found[queue] = colour = next((one for one in order if one in free), order[0])
        free.discard(colour)
    return found


def named_lines(drawn: Drawn, looks: Mapping[str, Look] | None) -> tuple[Named, ...]:
    """Return the panel's lines, queue by queue; `looks` by queue, or None when there is only one."""
    found = [
        (_name(one.query.name, series.labels), series.labels.get("queue"), series.points)
        for one in drawn.found
        for series in one.series
    ]
    names = list(dict.fromkeys(name for name, _, _ in found))
    names.sort(key=lambda name: name != "succeeded")  # the usual end comes first
    lines = []
    for name, queue, points in sorted(found, key=lambda each: (each[1] or "", names.index(each[0]))):
        place = names.index(name)
        if looks is None or queue is None:
            line = Line(name, MEANINGS.get(name, f"c{place % COLOURS}"), points, filled=place == 0)
            lines.append(Named(name, None, line))
        else:
            look = looks.get(queue, Look("c0", shorten(queue)))
            label = look.label if len(names) == 1 else f"{look.label} {name}"
            lines.append(Named(name, look.label, Line(label, f"{look.colour} d{place % DASHES}", points)))
    return tuple(lines)


def highest(lines: tuple[Named, ...]) -> tuple[Named, ...]:
    """Return the lines of the queues with the highest values, as many as one panel can show."""
    if len(lines) <= MOST_LINES:
        return lines
    queues = [tuple(each) for _, each in groupby(lines, key=lambda named: named.queue)]
    queues.sort(key=lambda each: max(_most(named.line) for named in each), reverse=True)
    shown: tuple[Named, ...] = ()
    for queue in queues:
        if not shown or len(shown) + len(queue) <= MOST_LINES:
            shown += queue
    return shown[:MOST_LINES]


def legend(panel: Panel, lines: tuple[Named, ...], window: Window) -> Legend:
    """Return the legend, with each line's value at the end of the window."""

    def cell(line: Line) -> Cell:
        now = line.now(window)
        return Cell(bare(now, panel.unit), worries(now, panel.worry))

    dashes = {each.name: f"d{each.line.style.partition(' d')[2]}" for each in lines}
    queues = list(dict.fromkeys(each.queue for each in lines))
    if len(dashes) < 2 or len(queues) < 2:
        return Legend(tuple(Key(each.line.label, each.line.style, cell(each.line)) for each in lines))
    names = sorted(dashes.items(), key=lambda each: each[1])
    cells = {(each.queue, each.name): cell(each.line) for each in lines}
    styles = {each.queue: each.line.style.partition(" ")[0] for each in lines}
    rows = tuple(
        (queue or "", styles[queue], tuple(cells.get((queue, name), Cell("–")) for name, _ in names))
        for queue in queues
    )
    return Legend((), tuple(names), rows)


def worries(value: float | None, worry: float | None) -> bool:
    return value is not None and worry is not None and value >= worry


def _name(pattern: str, labels: Mapping[str, str]) -> str:
    for label, value in labels.items():
        pattern = pattern.replace(f"{{{{{label}}}}}", value)
    return pattern


def _most(line: Line) -> float:
    return max((value for _, value in line.points if value is not None), default=-1.0)
