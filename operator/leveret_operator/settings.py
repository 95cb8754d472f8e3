"""What the operator is told by its environment."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from leveret.settings import MissingSetting, Places
from leveret.telemetry.logs import log_form
from leveret_operator.own_secrets import Kind, OwnSecret, read_own_secrets
from leveret_operator.queue_names import AllowedNames, read_allowed

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")


@dataclass(frozen=True, slots=True)
class Settings:
    places: Places  # where the broker's address and credentials are read, anew for each use
    namespace: str  # whose JobQueues it looks after
    broker_secret: str  # mounted into the consumers
    installation_secret: str | None  # so is this, where there is one
    own_secrets: Mapping[Kind, OwnSecret]  # made where they are absent
    management_port: int
    metrics_port: int
    consumer_pull_policy: str | None
    consumer_pull_secrets: tuple[str, ...]
    consumer_resources: Mapping[str, object]  # of a container whose template says nothing of them
    allowed_names: AllowedNames
    log: Literal["json", "text"]
    pod: str
    first_in_pod: bool  # every other operator of a pod of this name is dead
    probe_port: int


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raise MissingSetting or ValueError with a sentence about the variable that is wrong."""
    namespace = environment.get("LEVERET_NAMESPACE") or _own_namespace()
    policy = environment.get("LEVERET_CONSUMER_PULL_POLICY") or None
    if policy is not None and policy not in _PULL_POLICIES:
        raise ValueError(f"LEVERET_CONSUMER_PULL_POLICY is {policy!r}, and must be one of {', '.join(_PULL_POLICIES)}")
    return Settings(
        places=Places(environment),
        namespace=namespace,
        broker_secret=environment.get("LEVERET_BROKER_SECRET") or "leveret-broker",
        installation_secret=environment.get("LEVERET_INSTALLATION_SECRET") or None,
        own_secrets=_own_secrets(environment),
        management_port=_port(environment, "LEVERET_BROKER_MANAGEMENT_PORT", 15672),
        metrics_port=_port(environment, "LEVERET_BROKER_METRICS_PORT", 15692),
        consumer_pull_policy=policy,
        consumer_pull_secrets=tuple(filter(None, environment.get("LEVERET_CONSUMER_PULL_SECRETS", "").split(","))),
        consumer_resources=_resources(environment),
        allowed_names=_names(environment),
        log=log_form(environment.get("LEVERET_LOG")),
        pod=environment.get("LEVERET_POD") or "leveret-operator",
        # A container's next process 1 starts when the last one and all beside it are dead; `kubectl exec` starts no process 1.
        first_in_pod=_OWN_NAMESPACE.is_file() and "LEVERET_POD" in environment and os.getpid() == 1,
        probe_port=_port(environment, "LEVERET_PROBE_PORT", 9000),
    )


def _own_namespace() -> str:
    if _OWN_NAMESPACE.is_file():
        return _OWN_NAMESPACE.read_text().strip()
    raise MissingSetting(
        "LEVERET_NAMESPACE is not set and this is no pod; set it to the namespace that holds the JobQueues"
    )


def _own_secrets(environment: Mapping[str, str]) -> dict[Kind, OwnSecret]:
    try:
        return read_own_secrets(environment.get("LEVERET_OWN_SECRETS", ""))
    except ValueError as problem:
        raise ValueError(f"LEVERET_OWN_SECRETS can't be read, and is the chart's to write: {problem}") from problem


def _names(environment: Mapping[str, str]) -> AllowedNames:
    try:
        return read_allowed(environment.get("LEVERET_QUEUE_NAMES", ""))
    except ValueError as problem:
        raise ValueError(f"LEVERET_QUEUE_NAMES: {problem}") from problem


def _resources(environment: Mapping[str, str]) -> Mapping[str, object]:
    text = environment.get("LEVERET_CONSUMER_RESOURCES") or "{}"
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        example = '{"requests": {"cpu": "20m"}}'
        raise ValueError(f"LEVERET_CONSUMER_RESOURCES is {text[:100]!r}, and must be a JSON object, such as {example}")
    return found


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError(f"{name} is {text!r}, and must be a port, such as {default}")
    return int(text)
