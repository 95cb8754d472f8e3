"""What a run found, as a table for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence

from rich.table import Table

from bench.ratios import Verdict


def table(verdicts: Sequence[Verdict], title: str, compared: Mapping[str, str]) -> Table:
    """Draw the ratios; `compared` says for each measure what is set against what."""
    drawn = Table(
        title=title,
        title_justify="left",
        caption="\n".join(f"{name}: {what}" for name, what in compared.items()),
        caption_justify="left",
    )
    drawn.add_column("measure")
    for head in ("turns", "min", "median", "max", "limit"):
        drawn.add_column(head, justify="right", no_wrap=True)
    drawn.add_column("", no_wrap=True)
    for verdict in verdicts:
        result = verdict.result
        drawn.add_row(
            result.name,
            str(len(result.repetitions)),
            *(number(value) for value in (result.lowest, result.median, result.highest)),
            f"{'≤' if verdict.limit.highest else '≥'} {number(verdict.limit.value)}",
            "[green]reached[/]" if verdict.reached else "[red]MISSED[/]",
        )
    return drawn


def number(ratio: float) -> str:
    """Three significant digits without an exponent."""
    return f"{ratio:.4f}" if ratio < 0.1 else f"{ratio:.3f}" if ratio < 10 else f"{ratio:,.1f}"


def document(verdicts: Sequence[Verdict]) -> str:
    """The same as JSON. The figures are this machine's in that moment: only their ratio can be compared."""
    measures = {
        verdict.result.name: {
            "min": verdict.result.lowest,
            "median": verdict.result.median,
            "max": verdict.result.highest,
            ("at_most" if verdict.limit.highest else "at_least"): verdict.limit.value,
            "reached": verdict.reached,
            "repetitions": [
                {"ratio": one.ratio, "subject": one.subject, "reference": one.reference}
                for one in verdict.result.repetitions
            ],
        }
        for verdict in verdicts
    }
    return json.dumps({"reached": all(one.reached for one in verdicts), "measures": measures}, indent=2) + "\n"
