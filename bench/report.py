"""What a run found, as a table for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence

from rich.table import Table

from bench.ratios import Verdict


def table(verdicts: Sequence[Verdict], compared: Mapping[str, str]) -> Table:
    """Draw the ratios; `compared` says for each measure what is set against what."""
    drawn = Table(
        title="Leveret ÷ bare reference, in the same run",
        title_justify="left",
        caption="\n".join(f"{one.result.name}: {compared[one.result.name]}" for one in verdicts),
        caption_justify="left",
    )
    drawn.add_column("measure")
    for head in ("turns", "min", "median", "max", "at least"):
        drawn.add_column(head, justify="right", no_wrap=True)
    drawn.add_column("", no_wrap=True)
    for verdict in verdicts:
        result = verdict.result
        drawn.add_row(
            result.name,
            str(len(result.repetitions)),
            *(number(value) for value in (result.lowest, result.median, result.highest, verdict.limit)),
            "[green]reached[/]" if verdict.reached else "[red]MISSED[/]",
        )
    return drawn


def number(ratio: float) -> str:
    """Three significant digits without an exponent."""
    return f"{ratio:.4f}" if ratio < 0.1 else f"{ratio:.3f}" if ratio < 10 else f"{ratio:,.1f}"


def document(verdicts: Sequence[Verdict]) -> str:
    """The same as JSON. The rates are this machine's in that moment: only their ratio can be compared."""
    measures = {
        verdict.result.name: {
            "min": verdict.result.lowest,
            "median": verdict.result.median,
            "max": verdict.result.highest,
            "at_least": verdict.limit,
            "reached": verdict.reached,
            "repetitions": [
                {"ratio": one.ratio, "subject_per_second": one.subject, "reference_per_second": one.reference}
                for one in verdict.result.repetitions
            ],
        }
        for verdict in verdicts
    }
    return json.dumps({"reached": all(one.reached for one in verdicts), "measures": measures}, indent=2) + "\n"
