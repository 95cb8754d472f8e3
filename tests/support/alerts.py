"""The chart's alerts as a rule file of Prometheus, filled in as the chart does it; a test of the chart holds the two together."""

import re
from typing import Any

import yaml
from kube import CHART, ROOT

RUNBOOKS = ROOT / "docs" / "runbooks"
DEFAULTS = {
    "namespace": "leveret",
    "runbooks": "https://leveret.dev/docs/runbooks",
    "outboxLimit": "1000000",
    "longestWait": "900",
}


def rule_file(**changed: str) -> str:
    """Return the text; raise KeyError for a placeholder that nobody fills."""
    values = DEFAULTS | changed
    text = (CHART / "rules" / "alerts.yaml").read_text()
    return re.sub(r"\$(?!labels\b|value\b)(\w+)", lambda found: values[found[1]], text)


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(rule_file())["groups"] for rule in group["rules"]]
