"""What a relay does, as a talk without I/O: the statements it runs, the lists it submits, and how long it waits.

Rows are leased while they are sent, so no transaction is open meanwhile. A row is deleted once the API has stored its job; a
relay that dies in between leaves it to be sent again, and by its id it is stored once. A list that is refused is halved until
it is known which of its jobs is; that one stays with its reason, and no other stays for it. A queue that is full or unknown
waits by itself; an API or a database that is away is waited for.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NoReturn

import msgspec

from leveret.client.decide import Patience
from leveret.client.errors import QueueFull, Refused, UnknownQueue, Unsendable
from leveret.client.outbox.rows import Row
from leveret.client.outbox.statements import DELETE, MOST, PUT_BACK, TAKE
from leveret.client.values import NewJob

POLL = 0.5  # s between looks
SOON, LOOKS = 0.05, 20  # s between the looks after a submit in this process, and their number
AWAY = Patience(first=0.1, longest=5.0)
HELD = Patience(first=1.0, longest=30.0)  # a queue
_FOR_GOOD = {"invalid-request", "invalid-json", "too-large"}
_LONGEST_SAID = 1_000  # characters


@dataclass(frozen=True, slots=True)
class Run:
    statement: str
    value: str


@dataclass(frozen=True, slots=True)
class Post:
    queue: str
    jobs: Sequence[NewJob]


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float
    wakeable: bool = False  # by a submit in this process


@dataclass(frozen=True, slots=True)
class Heard:
    now: float  # s, of a clock that only goes forward
    found: str | None = None
    error: Exception | None = None
    woken: bool = False


Talk = Generator[Run | Post | Wait, Heard, Exception | None]


_rows = msgspec.json.Decoder(list[Row])


@dataclass(slots=True)
class Relaying:
    draw: Callable[[], float]  # even in 0 … 1
    held: dict[str, tuple[float, int]] = field(default_factory=dict)  # queues: until when, and after how many failures

    def rounds(self) -> Generator[Run | Post | Wait, Heard, NoReturn]:
        """Look for rows and send them, for ever. It may be left at any Wait."""
        failures = looks = 0
        while True:
            now = (yield Wait(0)).now
            held = [queue for queue, (until, _) in self.held.items() if until > now]
            heard = yield Run(TAKE, msgspec.json.encode(held).decode())
            away, full = heard.error, False
            for queue, some in groupby(_by_queue(heard.found or "[]"), key=lambda row: row.queue):
                rows = list(some)
                full = full or len(rows) == MOST
                if away is None:
                    away = yield from self._deliver(queue, rows, failures + 1)
                else:
                    yield self._put_back(rows, away, AWAY.wait(failures + 1, self.draw()))
            failures = 0 if away is None else failures + 1
            if away is not None:
                yield Wait(AWAY.wait(failures, (1 + self.draw()) / 2))
            elif looks > 0 and not full:
                looks -= 1
                yield Wait(SOON)
            elif not full:
                looks = LOOKS if (yield Wait(POLL, wakeable=True)).woken else 0

    def _deliver(self, queue: str, rows: list[Row], failures: int) -> Talk:
        """Return why no other list would be taken either, if that is so."""
        heard = yield Post(queue, [row.job for row in rows])
        error = heard.error
        if error is None:
            self.held.pop(queue, None)
            yield Run(DELETE, msgspec.json.encode([row.id for row in rows]).decode())
            return None
        if isinstance(error, Unsendable) or (isinstance(error, Refused) and error.slug in _FOR_GOOD):
            if len(rows) == 1:
                yield self._put_back(rows, error, 0.0, refused=True)
                return None
            half = len(rows) // 2
            first = yield from self._deliver(queue, rows[:half], failures)
            return first or (yield from self._deliver(queue, rows[half:], failures))
        if isinstance(error, UnknownQueue | QueueFull):
            times = self.held.get(queue, (0.0, 0))[1] + 1
            wait = HELD.wait(times, (1 + self.draw()) / 2)
            self.held[queue] = heard.now + wait, times
            yield self._put_back(rows, error, wait)
            return None
        yield self._put_back(rows, error, AWAY.wait(failures, self.draw()))
        return error

    def _put_back(self, rows: list[Row], error: Exception, wait: float, *, refused: bool = False) -> Run:
        said = f"{type(error).__name__}: {error}"[:_LONGEST_SAID].replace("\0", "")
        put = [{"id": row.id, "wait": wait, "error": said, "refused": refused} for row in rows]
        return Run(PUT_BACK, msgspec.json.encode(put).decode())


def _by_queue(found: str) -> list[Row]:
    return sorted(_rows.decode(found), key=lambda row: (row.queue, row.id))
