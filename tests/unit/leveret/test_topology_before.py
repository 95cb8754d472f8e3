"""What the release before declares keeps its arguments: the broker refuses a declaration with others, and both run at a time."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
DECLARED = """
import json
from leveret import topology
told = {}
for one in (topology.shared(), topology.for_queue("shop.orders")):
    told |= {f"exchange {each.name}": [each.type, dict(each.arguments)] for each in one.exchanges}
    told |= {f"queue {each.name}": dict(each.arguments) for each in one.queues}
print(json.dumps(told))
"""


def declared(path: Path) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONSAFEPATH": "1"}
    words = [sys.executable, "-c", DECLARED]
    told = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def test_whatever_has_a_name_of_the_release_before_has_its_arguments() -> None:
    (wheel,) = (ROOT / "tests" / "upgrade").glob("*.whl")
    before, today = declared(wheel), declared(ROOT)
    assert before.keys() >= {
        "exchange leveret.jobs",
        "queue leveret.delay.3",
        "queue shop.orders",
        "queue shop.orders.dead",
    }
    assert {name: today.get(name, was) for name, was in before.items()} == before
