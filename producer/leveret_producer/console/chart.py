"""Draw lines as SVG: values in, a string out. Pure.

The drawing has no colours of its own: classes name them and the style sheet knows them for light and dark. What is not
known is a gap; a lone reading between two gaps is a dot. Times and values are also there as text: a description for
who does not see the drawing, and the values of a moment for who points at it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from leveret.panels import Shape, Unit
from leveret_producer.console.numbers import bare, clock, say, time_ticks, y_ticks

WIDTH, HEIGHT = 480, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 10, 22
MOMENTS = 60  # how many places one can point at


@dataclass(frozen=True, slots=True)
class Window:
    start: float  # Unix time
    end: float
    step: float  # s between two points


Points = tuple[tuple[float, float | None], ...]


@dataclass(frozen=True, slots=True)
class Line:
    label: str
    style: str  # classes: a colour and a dash
    points: Points
    filled: bool = False

    def now(self, window: Window) -> float | None:
        """Return the value at the end of the window; None if it is not known there."""
        if not self.points or window.end - self.points[-1][0] > 1.5 * window.step:
            return None
        return self.points[-1][1]


@dataclass(frozen=True, slots=True)
class Frame:
    """What the lines are drawn in."""

    key: str  # unique on the page
    title: str
    unit: Unit
    shape: Shape
    window: Window


def draw(frame: Frame, lines: tuple[Line, ...]) -> str:
    """Return one `<svg>` element; no line with a value gives an empty frame."""
    known = [value for line in lines for _, value in line.points if value is not None]
    ticks = y_ticks(max(known, default=0.0), frame.unit)
    scale = _Scale(frame.window, ticks[-1])
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{frame.key}-t {frame.key}-d">',
        f'<title id="{frame.key}-t">{escape(frame.title)}</title>',
        f'<desc id="{frame.key}-d">{escape(describe(frame, lines))}</desc>',
        *_axes(frame, scale, ticks),
        *(area for line in lines if line.filled for area in _areas(frame, scale, line)),
        *(_line(frame, scale, line) for line in reversed(lines)),  # the first lies on top
        *(_moments(frame, scale, lines) if known else _nothing()),
        "</svg>",
    ]
    return "".join(parts)


def describe(frame: Frame, lines: tuple[Line, ...]) -> str:
    """Return in words what the drawing shows."""
    said = []
    for line in lines:
        known = [value for _, value in line.points if value is not None]
        if known:
            low, high = say(min(known), frame.unit), say(max(known), frame.unit)
            now = line.now(frame.window)
            last = "not known now" if now is None else f"now {say(now, frame.unit)}"
            said.append(f"{line.label}: {last}, between {low} and {high}.")
    times = f"From {clock(frame.window.start)} to {clock(frame.window.end)} UTC."
    return " ".join((times, *said)) if said else f"{times} No data."


@dataclass(frozen=True, slots=True)
class _Scale:
    window: Window
    top: float

    def x(self, at: float) -> float:
        share = (at - self.window.start) / (self.window.end - self.window.start)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = min(max(value / self.top, 0.0), 1.0)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _axes(frame: Frame, scale: _Scale, ticks: tuple[float, ...]) -> Iterator[str]:
    for tick in ticks:
        y = scale.y(tick)
        kind = "base" if tick == 0 else "grid"
        yield f'<path class="{kind}" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text class="tick y" x="{LEFT - 6}" y="{y + 3.5:.1f}">{escape(bare(tick, frame.unit))}</text>'
    for at in time_ticks(frame.window.start, frame.window.end):
        x = scale.x(at)
        if LEFT + 12 <= x <= WIDTH - RIGHT - 12:  # else the label is cut
            yield f'<path class="grid" d="M{x:.1f} {HEIGHT - BOTTOM}v4"/>'
            yield f'<text class="tick x" x="{x:.1f}" y="{HEIGHT - 6}">{clock(at)}</text>'


def stretches(points: Points, step: float) -> Iterator[list[tuple[float, float]]]:
    """Cut a series where a value is missing or unknown."""
    stretch: list[tuple[float, float]] = []
    for at, value in points:
        if stretch and (value is None or at - stretch[-1][0] > 1.5 * step):
            yield stretch
            stretch = []
        if value is not None:
            stretch.append((at, value))
    if stretch:
        yield stretch


def _path(frame: Frame, scale: _Scale, stretch: list[tuple[float, float]]) -> str:
    at = [(round(scale.x(time), 1), round(scale.y(value), 1)) for time, value in stretch]
    path = f"M{at[0][0]:g} {at[0][1]:g}"
    if len(at) == 1:
        return path + "h.01"  # with round ends: a dot
    for before, (x, y) in pairwise(at):
        if frame.shape is Shape.STEP or y == before[1]:
            path += f"H{x:g}" + (f"V{y:g}" if y != before[1] else "")
        else:
            path += f"L{x:g} {y:g}"
    return path


def _line(frame: Frame, scale: _Scale, line: Line) -> str:
    path = "".join(_path(frame, scale, stretch) for stretch in stretches(line.points, frame.window.step))
    return f'<path class="line {line.style}" d="{path}"/>' if path else ""


def _areas(frame: Frame, scale: _Scale, line: Line) -> Iterator[str]:
    for stretch in stretches(line.points, frame.window.step):
        if len(stretch) > 1:
            first, last = scale.x(stretch[0][0]), scale.x(stretch[-1][0])
            bottom = HEIGHT - BOTTOM
            path = f"{_path(frame, scale, stretch)}V{bottom}H{first:.1f}Z" if last > first else ""
            yield f'<path class="area {line.style}" d="{path}"/>'


def _moments(frame: Frame, scale: _Scale, lines: tuple[Line, ...]) -> Iterator[str]:
    """Yield invisible columns that tell the values of their moment when pointed at."""
    window, wide = frame.window, (WIDTH - LEFT - RIGHT) / MOMENTS
    at_time = [dict(_by_moment(window, line.points)) for line in lines]
    for moment in range(MOMENTS):
        values = [
            f"{line.label}: {say(found[moment], frame.unit)}"
            for line, found in zip(lines, at_time, strict=True)
            if moment in found
        ]
        if values:
            at = window.start + (moment + 0.5) / MOMENTS * (window.end - window.start)
            told = escape("\n".join((f"{clock(at, seconds=True)} UTC", *values)))
            x = LEFT + moment * wide
            yield f'<rect class="at" x="{x:.1f}" y="{TOP}" width="{wide:.1f}" height="{HEIGHT - TOP - BOTTOM}">'
            yield f"<title>{told}</title></rect>"


def _by_moment(window: Window, points: Points) -> Iterator[tuple[int, float | None]]:
    """The last value of each moment."""
    for at, value in points:
        share = (at - window.start) / (window.end - window.start)
        yield min(max(int(share * MOMENTS), 0), MOMENTS - 1), value


def _nothing() -> Iterator[str]:
    yield f'<text class="nothing" x="{(WIDTH + LEFT) / 2}" y="{(HEIGHT - BOTTOM + TOP) / 2}">no data</text>'
