"""A consumer's pod as the operator makes it, for tests of what the chart says about such pods."""

from typing import Any

from leveret_operator.deployment import Surroundings, build_deployment
from leveret_operator.parsing import parse_jobqueue


def consumer(name: str = "bench", spec: dict[str, Any] | None = None) -> Any:
    """Return the pod template; raise TemplateInvalid, or BadSpec."""
    meta = {"namespace": "leveret", "name": name, "uid": "1-2-3", "generation": 1}
    body = {"metadata": meta, "spec": spec or {"consumer": {"image": "i", "handlers": "a:b"}}}
    made: Any = build_deployment(parse_jobqueue(body), Surroundings("leveret-broker", None, "json"))
    return made["spec"]["template"]
