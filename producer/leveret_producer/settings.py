"""What a producer is told at its start."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from leveret.durations import format_duration, parse_duration
from leveret.settings import Places
from leveret.telemetry.logs import log_form
from leveret_producer.retention.plan import Retention

_MOST_DIGITS = 15
# A partition a day: with more of them than this, every statement on jobs would take long to plan.
_KEPT = timedelta(hours=1), timedelta(days=366)
_KEPT_ALIVE = timedelta(seconds=1), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Settings:
    places: Places
    name: str  # of this replica: the pod's
    listen_port: int = 8080
    metrics_port: int = 9000
    outbox_limit: int = 1_000_000  # unconfirmed jobs, all replicas together; beyond it no job is accepted
    retention: Retention = field(default_factory=Retention)
    prometheus_url: str | None = None  # where the console asks; None: the console says that there is none
    log: Literal["json", "text"] = "text"
    keep_alive: timedelta = timedelta(seconds=75)  # longer than proxies keep theirs, so that it's they who close
    without_rights_seconds: float = (
        60.0  # so long it waits for an administrator who may be at it, and then ends and says why
    )
    announce_stop_seconds: float = 3.0  # not ready, and still serving: until no new requests are sent here


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raise ValueError with a sentence for a setting that can't be."""
    return Settings(
        places=Places(dict(environment)),
        name=environment.get("LEVERET_POD") or socket.gethostname() or f"producer-{os.getpid()}",
        listen_port=_port(environment, "LEVERET_LISTEN_PORT", 8080),
        metrics_port=_port(environment, "LEVERET_METRICS_PORT", 9000),
        outbox_limit=_limit(environment, "LEVERET_OUTBOX_LIMIT", 1_000_000),
        retention=_retention(environment),
        prometheus_url=environment.get("LEVERET_PROMETHEUS_URL") or None,
        log=log_form(environment.get("LEVERET_LOG")),
        keep_alive=_between(environment, "LEVERET_KEEP_ALIVE", timedelta(seconds=75), _KEPT_ALIVE),
    )


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or not 0 <= int(text) <= 65_535:
        raise ValueError(f"{name} is {text!r}, and must be a port, 1 to 65535")
    return int(text)


def _limit(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS and int(text) >= 1):
        raise ValueError(f"{name} is {text[:100]!r}, and must be a number of jobs, at least 1")
    return int(text)


def _retention(environment: Mapping[str, str]) -> Retention:
    default = Retention()
    kept = Retention(
        jobs=_between(environment, "LEVERET_RETENTION_JOBS", default.jobs, _KEPT),
        payloads=_between(environment, "LEVERET_RETENTION_PAYLOADS", default.payloads, _KEPT),
        decisions=_between(environment, "LEVERET_RETENTION_DECISIONS", default.decisions, _KEPT),
    )
    if kept.payloads > kept.jobs:
        raise ValueError(
            f"LEVERET_RETENTION_PAYLOADS is {format_duration(kept.payloads)} and LEVERET_RETENTION_JOBS is "
            f"{format_duration(kept.jobs)}: a payload goes with its job at the latest; lower the first or raise the second"
        )
    return kept


def _between(
    environment: Mapping[str, str], name: str, default: timedelta, limits: tuple[timedelta, timedelta]
) -> timedelta:
    text = environment.get(name)
    if not text:
        return default
    try:
        kept = parse_duration(text)
    except (ValueError, OverflowError) as problem:
        raise ValueError(f"{name} is {text[:100]!r}, and must be a duration, such as 720h") from problem
    least, most = limits
    if not least <= kept <= most:
        raise ValueError(
            f"{name} is {text[:100]}, and must be from {format_duration(least)} to {format_duration(most)}"
        )
    return kept
