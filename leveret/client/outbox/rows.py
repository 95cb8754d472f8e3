"""Jobs as rows of the outbox. Nearly all that the API would refuse is refused here, while it can be rolled back."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from leveret.client.encoding import encode, new_jobs
from leveret.client.errors import Unsendable
from leveret.client.values import NewJob
from leveret.durations import parse_duration
from leveret.retry import LONGEST_DELAY

_LONGEST_TYPE = 255  # bytes


class _Written(msgspec.Struct):
    payload: msgspec.Raw
    id: UUID | None = None


class Row(msgspec.Struct, frozen=True):
    """A row as it is inserted and taken."""

    id: UUID
    queue: str
    type: str
    payload: str
    run_at: datetime | None = None
    delay: float | None = None  # s from the insert

    @property
    def job(self) -> NewJob:
        return NewJob(self.type, msgspec.Raw(self.payload.encode()), self.run_at, id=self.id)


def rows_of(
    queue: str, jobs: Iterable[NewJob | Mapping[str, object]], now: datetime, new_id: Callable[[], UUID]
) -> list[Row]:
    """Return the rows; raise Unsendable."""
    if not queue or "\0" in queue:
        raise Unsendable(f"{queue!r:.80} is no name of a queue. Nothing was stored")
    return [_row(queue, job, f"job {index}", now, new_id) for index, job in enumerate(new_jobs(jobs))]


def _row(queue: str, job: NewJob, where: str, now: datetime, new_id: Callable[[], UUID]) -> Row:
    written = msgspec.json.decode(encode(job, where), type=_Written)
    if not 1 <= len(job.type.encode()) <= _LONGEST_TYPE or any(letter < " " or letter == "\x7f" for letter in job.type):
        raise Unsendable(
            f"the type of {where} has 1 to {_LONGEST_TYPE} bytes and no control characters. Nothing was stored"
        )
    if job.run_at is not None and job.delay is not None:
        raise Unsendable(f"{where} has both run_at and delay; give one of them. Nothing was stored")
    if written.id is not None and written.id.version != 7:
        raise Unsendable(f"the id of {where} is no UUIDv7. Nothing was stored")
    delay = None if job.delay is None else _delay(job.delay, where)
    if max(delay or timedelta(), job.run_at - now if job.run_at else timedelta()) > LONGEST_DELAY:
        raise Unsendable(f"{where} is to wait for longer than {LONGEST_DELAY.days} days, the most. Nothing was stored")
    seconds = None if delay is None else delay / timedelta(seconds=1)
    return Row(written.id or new_id(), queue, job.type, bytes(written.payload).decode(), job.run_at, seconds)


def _delay(delay: timedelta | str, where: str) -> timedelta:
    try:
        return parse_duration(delay) if isinstance(delay, str) else delay
    except (ValueError, OverflowError) as problem:
        raise Unsendable(f"the delay of {where} {problem!s:.200}. Nothing was stored") from problem
