"""`Client`: the talks carried out by a thread, which sleeps while a talk pauses."""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self, TypeVar
from uuid import UUID, uuid4

from leveret.client.decide import Answer, Lost, Patience
from leveret.client.talks import Heard, Pause, Send, Talk, Talks
from leveret.client.values import BegunCancel, Job, JobResult, NewJob, Submitted

if TYPE_CHECKING:
    import ssl
    from pathlib import Path
    from types import TracebackType

    import httpx

    from leveret.client.chance import Chance

_PATIENCE = Patience()

T = TypeVar("T")


class Client:
    """Submits jobs and looks at them. Threads may share one; a process that forks makes its own after that."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        folder: "str | Path" = "/etc/leveret",
        patience: Patience = _PATIENCE,
        verify: "bool | ssl.SSLContext" = True,
        transport: "httpx.BaseTransport | None" = None,
        chance: "Chance[None] | None" = None,
    ) -> None:
        """Take the URL and the token from the arguments, the environment or the folder; raise NotConfigured.

        `verify` is handed to httpx, and so is `transport`, which is for tests, as `chance` is.
        """
        from leveret.client.chance import Chance
        from leveret.client.wire import Wire, in_threads  # httpx is loaded here

        self._wire, self._chance = Wire(url, token, folder), chance or Chance(time.sleep)
        self._talks = Talks(patience, self._chance.draw, lambda: str(uuid4()))
        self._http = in_threads(verify, transport)

    def submit(
        self, queue: str, type: str, payload: object, *, run_at: datetime | None = None,
        delay: timedelta | str | None = None, key: str | None = None, id: UUID | None = None,
    ) -> Submitted:  # fmt: skip
        """Store a job and return its id. The same `key` within 24 hours, or the same `id`, stores it once, whoever sends it again."""
        return self._carry_out(self._talks.submit(queue, NewJob(type, payload, run_at, delay, id), key))

    def submit_many(
        self, queue: str, jobs: Iterable[NewJob | Mapping[str, object]], key: str | None = None
    ) -> list[Submitted]:
        """Store a list, up to 10,000 jobs and 8 MiB whole or not at all; a longer one in several such requests."""
        return self._carry_out(self._talks.submit_many(queue, jobs, key))

    def get(self, id: UUID | str) -> Job:
        """Return a job with all that is known of it; raise UnknownJob."""
        return self._carry_out(self._talks.get(id))

    def get_many(self, ids: Iterable[UUID | str]) -> list[JobResult]:
        """Return how far jobs are, in the order of the ids; those that are not known are left out."""
        return self._carry_out(self._talks.get_many(ids))

    def cancel(self, id: UUID | str, *, queue: str | None = None) -> Job:
        """Ask for a job to be cancelled, and return it as it is then; it has ended once its state is final.

        With its `queue` also one that the API has not seen yet, as one over AMQP. Raises UnknownJob, and Refused with the slug
        `job-finished` for one that has ended. To cancel twice does no more than once.
        """
        return self._carry_out(self._talks.cancel(id, queue))

    def cancel_many(self, queue: str, ids: Iterable[UUID | str]) -> BegunCancel:
        """Ask for jobs of a queue to be cancelled, 10,000 in one request; return how many that is about.

        All of a request or none is stored. What has ended by then, or is not known, is `skipped`: to ask again does no more, also
        where an answer was lost and the client did.
        """
        return self._carry_out(self._talks.cancel_many(queue, ids))

    def wait(self, id: UUID | str, timeout: float) -> JobResult:
        """Return a job once it has ended, however it ended; raise TimedOut after so many seconds, or UnknownJob."""
        return self._carry_out(self._talks.wait(id, timeout))

    def wait_many(self, ids: Iterable[UUID | str], timeout: float) -> list[JobResult]:
        """Return jobs once all have ended, in the order of the ids; raise TimedOut, or UnknownJob if one is not known."""
        return self._carry_out(self._talks.wait_many(ids, timeout))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self.close()

    def _carry_out(self, talk: Talk[T]) -> T:
        try:
            step = next(talk)
            while True:
                step = talk.send(self._heard(step))
        except StopIteration as end:
            result: T = end.value
            return result

    def _heard(self, step: Send | Pause) -> Heard:
        if isinstance(step, Pause):
            if step.seconds > 0:
                self._chance.sleep(step.seconds)
            return Heard(self._chance.now())
        request = self._wire.request(step)
        try:
            outcome: Answer | Lost = self._wire.answer(request, self._http.send(request))
        except self._wire.failures as problem:
            outcome = self._wire.lost(problem, self._http.is_closed)
        return Heard(self._chance.now(), outcome)
