"""`AsyncClient`: the talks carried out by an event loop's task."""

from collections.abc import Awaitable, Iterable, Mapping
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


class AsyncClient:
    """Submits jobs and looks at them, in one event loop; its tasks may share one client."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        folder: "str | Path" = "/etc/leveret",
        patience: Patience = _PATIENCE,
        verify: "bool | ssl.SSLContext" = True,
        transport: "httpx.AsyncBaseTransport | None" = None,
        chance: "Chance[Awaitable[None]] | None" = None,
    ) -> None:
        """Take the URL and the token from the arguments, the environment or the folder; raise NotConfigured.

        `verify` is handed to httpx, and so is `transport`, which is for tests, as `chance` is.
        """
        from asyncio import Semaphore, sleep

        from leveret.client.chance import Chance
        from leveret.client.wire import MOST_CONNECTIONS, Wire, in_loop  # httpx is loaded here

        self._wire, self._chance = Wire(url, token, folder), chance or Chance(sleep)
        self._talks = Talks(patience, self._chance.draw, lambda: str(uuid4()))
        self._http = in_loop(verify, transport)
        # A crowd waits here: httpx looks through all that wait whenever a connection is free.
        self._places = Semaphore(MOST_CONNECTIONS)

    async def submit(
        self, queue: str, type: str, payload: object, *, run_at: datetime | None = None,
        delay: timedelta | str | None = None, key: str | None = None, id: UUID | None = None,
    ) -> Submitted:  # fmt: skip
        """Store a job and return its id. The same `key` within 24 hours, or the same `id`, stores it once, whoever sends it again."""
        return await self._carry_out(self._talks.submit(queue, NewJob(type, payload, run_at, delay, id), key))

    async def submit_many(
        self, queue: str, jobs: Iterable[NewJob | Mapping[str, object]], key: str | None = None
    ) -> list[Submitted]:
        """Store a list, up to 10,000 jobs and 8 MiB whole or not at all; a longer one in several such requests."""
        return await self._carry_out(self._talks.submit_many(queue, jobs, key))

    async def get(self, id: UUID | str) -> Job:
        """Return a job with all that is known of it; raise UnknownJob."""
        return await self._carry_out(self._talks.get(id))

    async def get_many(self, ids: Iterable[UUID | str]) -> list[JobResult]:
        """Return how far jobs are, in the order of the ids; those that are not known are left out."""
        return await self._carry_out(self._talks.get_many(ids))

    async def cancel(self, id: UUID | str, *, queue: str | None = None) -> Job:
        """Ask for a job to be cancelled, and return it as it is then; it has ended once its state is final.

        With its `queue` also one that the API has not seen yet, as one over AMQP. Raises UnknownJob, and Refused with the slug
        `job-finished` for one that has ended. To cancel twice does no more than once.
        """
        return await self._carry_out(self._talks.cancel(id, queue))

    async def cancel_many(self, queue: str, ids: Iterable[UUID | str]) -> BegunCancel:
        """Ask for jobs of a queue to be cancelled, 10,000 in one request; return how many that is about.

        All of a request or none is stored. What has ended by then, or is not known, is `skipped`: to ask again does no more, also
        where an answer was lost and the client did.
        """
        return await self._carry_out(self._talks.cancel_many(queue, ids))

    async def wait(self, id: UUID | str, timeout: float) -> JobResult:
        """Return a job once it has ended, however it ended; raise TimedOut after so many seconds, or UnknownJob."""
        return await self._carry_out(self._talks.wait(id, timeout))

    async def wait_many(self, ids: Iterable[UUID | str], timeout: float) -> list[JobResult]:
        """Return jobs once all have ended, in the order of the ids; raise TimedOut, or UnknownJob if one is not known."""
        return await self._carry_out(self._talks.wait_many(ids, timeout))

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        await self.aclose()

    async def _carry_out(self, talk: Talk[T]) -> T:
        try:
            step = next(talk)
            while True:
                step = talk.send(await self._heard(step))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _heard(self, step: Send | Pause) -> Heard:
        if isinstance(step, Pause):
            if step.seconds > 0:
                await self._chance.sleep(step.seconds)
            return Heard(self._chance.now())
        from asyncio import timeout

        began = self._chance.now()
        try:
            async with timeout(step.timeout):
                await self._places.acquire()
        except TimeoutError:
            busy = Lost(f"each connection of this client was busy for {step.timeout:.3g} s", sent=False)
            return Heard(now := self._chance.now(), busy, waited=now - began)
        try:
            waited = self._chance.now() - began
            request = self._wire.request(step)
            outcome: Answer | Lost = self._wire.answer(request, await self._http.send(request))
        except self._wire.failures as problem:
            outcome = self._wire.lost(problem, self._http.is_closed)
        finally:
            self._places.release()
        return Heard(self._chance.now(), outcome, waited)
