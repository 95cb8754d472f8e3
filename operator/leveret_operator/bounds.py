"""What the numbers and durations of a JobQueue may be, and the nearest of it for what a spec says.

The API server checks what is written by the schema of that day. An object that was stored under another schema must go on
after an upgrade: a value out of bounds is taken as the nearest one within, and that is said. What has no nearest, as a
text that is no duration, is refused.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from leveret.durations import format_duration, parse_duration
from leveret.topology import BROKER_DELIVERY_LIMIT
from leveret_operator.jobqueue import BadSpec, Json
from leveret_operator.kubernetes_json import map_in

# By the path below spec: what an absent value is taken as, the least and the most, as in the schema.
NUMBERS: Mapping[str, tuple[int, int, int]] = {
    "consumer.concurrency": (10, 1, 1000),
    "queue.maxLength": (2**63 - 1, 1, 2**63 - 1),  # absent: no limit
    "queue.deliveryLimit": (BROKER_DELIVERY_LIMIT, 1, BROKER_DELIVERY_LIMIT),
    "retry.maxAttempts": (5, 1, 1000),
    "retry.backoff.factor": (2, 1, 100),
    "scaling.minReplicas": (0, 0, 1000),
    "scaling.maxReplicas": (10, 1, 1000),
    "scaling.objective.backlogPerReplica": (100, 1, 1_000_000),
}
LONGEST = timedelta(hours=999_999)  # some 114 years, and still a time that can be added to now
# A consumer with one slot lets the broker wait 302 times as long for an ack, and a quorum queue of which 292 years are asked is
# down for good, with what is in it (RabbitMQ 4.3: its timer takes no more).
LONGEST_TIMEOUT = timedelta(hours=7_200)
DURATIONS: Mapping[str, tuple[str, timedelta, timedelta]] = {
    "consumer.startupTimeout": ("2m", timedelta(minutes=2), timedelta(minutes=30)),
    "retry.backoff.initial": ("1s", timedelta(0), LONGEST),
    "retry.backoff.max": ("10m", timedelta(0), LONGEST),
    "timeout": ("30s", timedelta(milliseconds=1), LONGEST_TIMEOUT),  # consumers are told whole milliseconds
    "scaling.scaleDownStabilization": ("60s", timedelta(0), LONGEST),
    "scaling.scaleToZeroAfter": ("2m", timedelta(0), LONGEST),
}


@dataclass(frozen=True, slots=True)
class Bounded:
    """Reads a spec, and notes what is taken in place of what it says."""

    spec: Json
    adjusted: list[str]  # a sentence each

    def number(self, path: str, most: float = math.inf) -> float:
        """Return the number there, or the default, at most `most`; raise BadSpec if there is something else."""
        default, least, greatest = NUMBERS[path]
        value = default if (said := self._at(path)) is None else said
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # NaN
            raise BadSpec(f"{path}: {value!r:.100} is no number")
        nearest = min(max(value, least), greatest, most)
        if nearest != value:
            self._note(path, value, nearest)
        return nearest

    def whole(self, path: str, most: float = math.inf) -> int:
        return int(self.number(path, most))

    def duration(self, path: str, most: timedelta = LONGEST) -> timedelta:
        """Return the duration there, or the default, at most `most`; raise BadSpec if there is something else."""
        default, least, longest = DURATIONS[path]
        text = default if (said := self._at(path)) is None else str(said)
        try:
            value = parse_duration(text)
        except OverflowError:
            value = timedelta.max
        except ValueError as problem:
            raise BadSpec(f"{path}: {problem}") from problem
        nearest = min(max(value, least), longest, most)
        if nearest != value:
            self._note(path, text, format_duration(nearest))
        return nearest

    def _note(self, path: str, said: object, taken: object) -> None:
        self.adjusted.append(f"spec.{path} is {said!s:.40} and is taken as {taken}, the nearest that works")

    def _at(self, path: str) -> object:
        *folders, field = path.split(".")
        parent = self.spec
        for folder in folders:
            parent = map_in(parent, folder)
        return parent.get(field)
