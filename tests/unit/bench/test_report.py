"""What is shown of a run."""

import json

import pytest
from rich.console import Console

from bench.ratios import Limit, Repetition, Result, Verdict
from bench.report import document, number, table

FAST = Verdict(Result("decide", (Repetition(300, 100), Repetition(330, 100))), Limit(2))
SLOW = Verdict(Result("submit", (Repetition(7, 100),)), Limit(0.06, highest=True))
TITLE = "Leveret ÷ bare reference, in the same run"
COMPARED = {"decide": "this ÷ that", "submit": "these ÷ those"}

DRAWN = """\
Leveret ÷ bare reference, in the same run
┏━━━━━━━━━┳━━━━━━━┳━━━━━━━━┳━━━━━━━━┳━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━┓
┃ measure ┃ turns ┃    min ┃ median ┃    max ┃    limit ┃         ┃
┡━━━━━━━━━╇━━━━━━━╇━━━━━━━━╇━━━━━━━━╇━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━┩
│ decide  │     2 │  3.000 │  3.150 │  3.300 │  ≥ 2.000 │ reached │
│ submit  │     1 │ 0.0700 │ 0.0700 │ 0.0700 │ ≤ 0.0600 │ MISSED  │
└─────────┴───────┴────────┴────────┴────────┴──────────┴─────────┘
decide: this ÷ that
submit: these ÷ those
"""


def test_table() -> None:
    console = Console(width=80, color_system=None, force_terminal=True, legacy_windows=False)
    with console.capture() as capture:
        console.print(table([FAST, SLOW], TITLE, COMPARED))
    assert [line.rstrip() for line in capture.get().splitlines()] == DRAWN.splitlines()


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [(0.00123, "0.0012"), (0.0999, "0.0999"), (0.25, "0.250"), (3.14159, "3.142"), (1234.5, "1,234.5")],
)
def test_numbers(ratio: float, shown: str) -> None:
    assert number(ratio) == shown


def test_json() -> None:
    told = json.loads(document([FAST, SLOW]))
    assert told["reached"] is False
    decide = told["measures"]["decide"]
    assert (decide["min"], decide["median"], decide["max"], decide["at_least"], decide["reached"]) == (
        3,
        3.15,
        3.3,
        2,
        True,
    )
    assert decide["repetitions"][1] == {"ratio": 3.3, "subject": 330, "reference": 100}
    submit = told["measures"]["submit"]
    assert (submit["at_most"], submit["reached"]) == (0.06, False)
