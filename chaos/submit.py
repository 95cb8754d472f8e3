"""The submitter: sends what was planned, notes each answer in a file, and never guesses.

What was answered with 202, or confirmed by the broker, is accepted. What was refused is sent again later. Where a
connection broke before the answer, an HTTP request may have been stored or not: its jobs are not counted, and others
like them are sent instead. Over AMQP the client chooses the id, so it publishes the same message again until it's
confirmed, as the wire contract asks it to.
"""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any

import aio_pika
import httpx

from chaos.evidence import Accepted
from chaos.jobs import Batch, Job, Way, renamed
from chaos.plan import Part
from chaos.witness import BROKER_ERRORS, connect

ANSWER_SECONDS = 30.0
CONFIRM_SECONDS = 30.0
AT_ONCE = 16  # requests
REFUSALS = frozenset({404, 429, 503})  # 404: the queue is not known yet, or known again in a moment
LONGEST_PAUSE = 2.0  # s


class NotAccepted(Exception):
    """The API answers in a way that no fault explains; the message is a sentence."""


class MaybeStored(Exception):
    """It isn't known whether the request was carried out."""


@dataclass(slots=True)
class Submitter:
    http: httpx.AsyncClient
    amqp_url: str
    queue_of: Callable[[Part], str]
    journal: IO[str]
    accepted: list[Accepted] = field(default_factory=list)
    refused: int = 0  # answers
    unknown: int = 0  # jobs
    cancels: int = 0  # that were taken, not too late
    _http_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _messages: asyncio.Queue[Batch | None] = field(default_factory=asyncio.Queue)

    async def run(self, batches: Sequence[Batch], began: float) -> None:
        """Send each batch at its time and return when all are accepted; raise NotAccepted. `began` is of time.monotonic."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish_all())
            for batch in batches:
                await asyncio.sleep(max(0.0, began + batch.at - time.monotonic()))
                if batch.way is Way.AMQP:
                    self._messages.put_nowait(batch)
                else:
                    tasks.create_task(self.post_and_cancel(batch))
            self._messages.put_nowait(None)

    async def post_and_cancel(self, batch: Batch) -> None:
        """Post a batch, and cancel those of its jobs that are to be; raise NotAccepted."""
        accepted = await self.post(batch)
        await asyncio.gather(*(self._cancel(one.id, one.job.cancel) for one in accepted if one.job.cancel is not None))

    async def _cancel(self, job: str, after: float) -> None:
        """Cancel a job after so many seconds, asked for as often as it takes to get an answer: it may have ended before."""
        await asyncio.sleep(after)
        while True:
            with contextlib.suppress(httpx.TransportError):
                async with self._http_slots:
                    answer = await self.http.post(f"/v1/jobs/{job}/cancel")
                if answer.status_code in (202, 409):
                    self.cancels += answer.status_code == 202
                    return
                if answer.status_code not in REFUSALS:
                    raise NotAccepted(f"a cancel of {job} is answered with {answer.status_code}: {answer.text[:500]}")
            await asyncio.sleep(LONGEST_PAUSE)

    async def post(self, batch: Batch) -> list[Accepted]:
        """Post a batch as often as it takes to get a 202."""
        tries = 0
        while True:
            async with self._http_slots:
                try:
                    ids = await self._post(batch)
                except MaybeStored as problem:
                    self.unknown += len(batch.jobs)
                    self._note(batch, "unknown", because=str(problem))
                    tries += 1
                    batch = replace(batch, jobs=tuple(renamed(job, f"-r{tries}") for job in batch.jobs))
                    ids = None
            if ids is not None:
                return self._accept(batch, ids)
            await asyncio.sleep(min(LONGEST_PAUSE, 0.2 * (1 + tries)))

    async def _post(self, batch: Batch) -> list[str] | None:
        """Return the ids, or None for what was refused or never sent."""
        bodies = [_body(job) for job in batch.jobs]
        url = f"/v1/queues/{self.queue_of(batch.part)}/jobs"
        try:
            answer = await self.http.post(url, json=bodies[0] if batch.way is Way.ONE else bodies)
        except (httpx.ConnectError, httpx.ConnectTimeout) as problem:
            self._refuse(batch, f"{type(problem).__name__}: {problem}")
            return None
        except httpx.TransportError as problem:
            raise MaybeStored(f"{type(problem).__name__}: {problem}") from problem
        if answer.status_code == 202:
            said = answer.json()
            return [said["id"]] if batch.way is Way.ONE else [job["id"] for job in said["jobs"]]
        text = answer.text[:500]
        if answer.status_code not in REFUSALS:
            raise NotAccepted(f"{url} answers {answer.status_code}: {text}")
        if answer.status_code == 503 and "isn't known whether it was stored" in text:
            raise MaybeStored(text)
        self._refuse(batch, f"{answer.status_code} {text}")
        return None

    async def _publish_all(self) -> None:
        """Publish batches in turn, each until it's confirmed, over as many connections as that needs."""
        waiting: list[tuple[str, Job, Batch, int]] = []  # id, job, its batch, how often it was sent
        over = False
        while not (over and not waiting):
            try:
                connection = await connect(self.amqp_url, "chaos submitter")
                async with connection:
                    channel = await connection.channel(publisher_confirms=True)
                    exchange = await channel.get_exchange("leveret.jobs", ensure=False)
                    while not (over and not waiting):
                        if not waiting:
                            batch = await self._messages.get()
                            over = batch is None
                            waiting = (
                                [] if batch is None else [(str(uuid.uuid4()), job, batch, 0) for job in batch.jobs]
                            )
                        while waiting:
                            job_id, job, batch, sent = waiting[0]
                            waiting[0] = (job_id, job, batch, sent + 1)
                            await exchange.publish(
                                _message(job_id, job), self.queue_of(job.part), mandatory=True, timeout=CONFIRM_SECONDS
                            )
                            self._accept(replace(batch, jobs=(job,)), [job_id], sent=sent + 1)
                            del waiting[0]
            except BROKER_ERRORS as problem:
                for _, _, batch, _ in waiting[:1]:
                    self._refuse(batch, f"{type(problem).__name__}: {problem}")
                await asyncio.sleep(1.0)

    def _accept(self, batch: Batch, ids: list[str], sent: int = 1) -> list[Accepted]:
        now = time.time()
        accepted = [Accepted(job_id, job, now, sent) for job_id, job in zip(ids, batch.jobs, strict=True)]
        self.accepted += accepted
        self._note(batch, "accepted", ids=ids, sent=sent)
        return accepted

    def _refuse(self, batch: Batch, because: str) -> None:
        self.refused += 1
        self._note(batch, "refused", because=because)

    def _note(self, batch: Batch, answer: str, **more: object) -> None:
        jobs = [[job.type, job.payload, job.end] for job in batch.jobs]
        line = {"at": time.time(), "batch": batch.number, "way": batch.way, "answer": answer, "jobs": jobs, **more}
        self.journal.write(json.dumps(line) + "\n")


def _body(job: Job) -> dict[str, Any]:
    body: dict[str, Any] = {"type": job.type, "payload": job.payload}
    return body if job.delay is None else body | {"delay": f"{job.delay * 1000:.0f}ms"}


def _message(job_id: str, job: Job) -> aio_pika.Message:
    """A message as a client writes it that knows the wire contract and nothing else of us."""
    return aio_pika.Message(
        json.dumps(job.payload).encode(),
        message_id=job_id,
        type=job.type,
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        timestamp=int(time.time()),
    )
