"""Deliveries that failed in the consumer itself, and when to stop giving them back.

A message that is given back counts towards no limit of the broker's: one that meets an error of ours each time would go
round for ever. So each is counted, by job, generation and attempt, and after some times its job is a dead letter.
"""

from leveret import wire
from leveret.events import Error
from leveret.jobs import DeadReason
from leveret_consumer.acks import Delivered
from leveret_consumer.failures import error_of
from leveret_consumer.outcomes import DeadLetter

MOST = 5  # times that a delivery is given back
_REMEMBERED = 10_000  # messages; beyond that the oldest are forgotten


class Stumbles:
    """Those of this process."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, ...], int] = {}

    def note(self, message: Delivered) -> int:
        """Note one more; return how many there are by now."""
        key = _key(message)
        times = self._times.pop(key, 0) + 1
        self._times[key] = times
        if len(self._times) > _REMEMBERED:
            del self._times[next(iter(self._times))]
        return times

    def forget(self, message: Delivered) -> None:
        self._times.pop(_key(message), None)


def stumbled_too_often(problem: Exception, times: int) -> DeadLetter:
    """Return the outcome of a job that the consumer itself can't handle, however well its handler may do."""
    error = error_of(problem, DeadReason.DELIVERY_LIMIT)
    said = f"{times} times a consumer failed on this message itself, not its handler; the last time with {error.type}: {error.message}"
    return DeadLetter(DeadReason.DELIVERY_LIMIT, Error(error.reason, said, error.type, error.traceback))


def _key(message: Delivered) -> tuple[str, ...]:
    headers = message.headers
    return str(message.message_id), str(headers.get(wire.GENERATION)), str(headers.get(wire.ATTEMPT))
