"""From what was read to what the template shows: the table of queues, the cards with their drawings, links. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from leveret.panels import QUEUES_NOW, SECTIONS, Column, Unit
from leveret_producer.console.chart import Frame, Window, draw
from leveret_producer.console.lines import Cell, Legend, Look, highest, legend, looks_of, named_lines, worries
from leveret_producer.console.numbers import bare, clock
from leveret_producer.console.readings import MOST_QUEUES, Drawn, QueueNow, Queues, Span


@dataclass(frozen=True, slots=True)
class Choice:
    """What the address asks for."""

    queue: str | None
    span: Span
    refresh: bool

    def link(self, **change: str | None) -> str:
        """Return the address of this view with a change; None takes a word out."""
        wanted = {"queue": self.queue, "range": self.span.word, "refresh": None if self.refresh else "0", **change}
        usual = {"range": Span.QUARTER.word}
        words = {key: value for key, value in wanted.items() if value is not None and usual.get(key) != value}
        return f"/?{urlencode(words)}" if words else "/"


@dataclass(frozen=True, slots=True)
class Card:
    title: str
    description: str
    unit: str
    svg: str
    legend: Legend
    note: str | None


@dataclass(frozen=True, slots=True)
class Row:
    queue: str
    colour: str
    link: str
    chosen: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class View:
    at: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    sections: tuple[tuple[str, tuple[Card, ...]], ...]


def told_apart(queues: Queues, queue: str | None) -> Mapping[str, Look] | None:
    """Return how queues look, or None where there is only one to be shown."""
    return None if queue is not None or len(queues.seen) < 2 else looks_of(queues.seen)


def view(queues: Queues, cards: Sequence[Card], looks: Mapping[str, Look] | None, end: float, choice: Choice) -> View:
    """Return everything that the template shows; `cards` in the order of PANELS."""
    drawn = iter(cards)
    return View(
        at=clock(end, seconds=True),
        headings=tuple(_heading(column) for column in QUEUES_NOW),
        rows=tuple(_row(queue, looks[queue.name].colour if looks else "", choice) for queue in queues.now),
        sections=tuple((section.title, tuple(next(drawn) for _ in section.panels)) for section in SECTIONS),
    )


def _heading(column: Column) -> str:
    return f"{column.title} {column.unit}" if column.unit is Unit.PER_SECOND else column.title


def _row(queue: QueueNow, colour: str, choice: Choice) -> Row:
    cells = tuple(
        Cell(bare(value, column.unit), worries(value, column.worry))
        for column, value in zip(QUEUES_NOW, queue.values, strict=True)
    )
    chosen = queue.name == choice.queue
    return Row(queue.name, colour, choice.link(queue=None if chosen else queue.name), chosen, cells)


def card(drawn: Drawn, window: Window, key: str, looks: Mapping[str, Look] | None) -> Card:
    """Draw one panel; `key` is unique on the page."""
    panel = drawn.panel
    lines = named_lines(drawn, looks)
    shown = highest(lines)
    note = f"Prometheus refused the query: {drawn.refused}" if drawn.refused else None
    if len(lines) > len(shown) or (panel.by_queue and looks is not None and len(looks) > MOST_QUEUES):
        highest_of = f"the highest of {len(looks):,} queues" if looks else f"{len(shown)} of {len(lines)} lines"
        note = f"Only {highest_of}; choose a queue to see its own."
    frame = Frame(key, panel.title, panel.unit, panel.shape, window)
    svg = draw(frame, tuple(each.line for each in shown))
    # Times carry their unit with each value, and slots are called so already.
    unit = "" if panel.unit in (Unit.SECONDS, Unit.SLOTS) else panel.unit
    return Card(panel.title, panel.description, unit, svg, legend(panel, shown, window), note)
