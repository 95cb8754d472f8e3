"""Curves and bars made of characters: a number over time as a row of eighths, shares of a whole as a coloured bar."""

from collections.abc import Sequence
from math import ceil

EIGHTHS = "▁▂▃▄▅▆▇█"
GAP = " "

Point = tuple[float, float | None]  # time, value; None where it is not known


def sparkline(points: Sequence[Point], *, width: int, until: float, top: float | None = None) -> str:
    """Draw values from time 0 to `until` in so many columns, each the largest of its span; an unknown one is a gap.

    A column in which nothing was measured repeats the one before. `top` is the value of a full block; without it, the largest
    value there is.
    """
    columns: list[float | None] = [None] * width
    measured = [False] * width
    for at, value in points:
        column = int(min(width - 1, max(0.0, at / until * width))) if until > 0 else width - 1
        known = [known for known in (columns[column], value) if known is not None]
        columns[column] = max(known) if known else None
        measured[column] = True
    for column in range(1, width):
        if not measured[column]:
            columns[column] = columns[column - 1]
    full = top if top is not None else max((value for value in columns if value is not None), default=0.0)
    return "".join(GAP if value is None else _eighth(value, full) for value in columns)


def _eighth(value: float, full: float) -> str:
    if value <= 0 or full <= 0:
        return EIGHTHS[0]
    return EIGHTHS[min(len(EIGHTHS) - 1, ceil(value / full * (len(EIGHTHS) - 1)))]


def shares(parts: Sequence[int], width: int) -> list[int]:
    """Divide so many columns among the parts of a whole: in proportion, all used, and none without a column that is above 0."""
    whole = sum(parts)
    if whole == 0:
        return [0] * len(parts)
    exact = [part * width / whole for part in parts]
    columns = [max(1, int(share)) if part else 0 for part, share in zip(parts, exact, strict=True)]
    while (spare := width - sum(columns)) != 0:
        step = 1 if spare > 0 else -1
        candidates = [n for n, part in enumerate(parts) if part and columns[n] + step >= 1]
        if not candidates:
            break
        columns[max(candidates, key=lambda n: step * (exact[n] - columns[n]))] += step
    return columns
