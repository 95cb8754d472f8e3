"""A run of a mail's job: from what is known of the mail to its end, or to its next try.

A mail is marked *sending* before it is handed over, and *sent* once a server has said that it took it; so a run that finds it
sent does nothing, and one that finds it being sent waits until no other run can be at it, and then is in doubt. A rate's
time is waited for here if it comes within the time-out, else in the queue. What counts as a try is in the mail's row.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from pydantic import BaseModel

from examples.fronts.database import Away
from examples.mailer.backends import Backend, Backends, NoBackends
from examples.mailer.policy import Breaker, Meaning, in_order, wait_before
from examples.mailer.settings import CLEAN_UP_SECONDS, Settings
from examples.mailer.smtp import Ended, Talk, message
from examples.mailer.store import LATEST, Mail, Store
from leveret import Context, Reject, RetryLater


class Sent(BaseModel):
    backend: str | None
    message_id: str
    error: str | None  # who does not get it


@dataclass
class Mailer:
    store: Store
    settings: Settings
    backends: Backends
    breakers: dict[Backend, Breaker] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic

    async def run(self, ctx: Context, id: UUID) -> Sent:
        mail = await self.store.take_up(id, ctx.job_id, ctx.generation)
        if mail is None:
            raise Reject(f"there is no e-mail {id}: the front stores one before it submits it")
        if mail.owner != ctx.job_id or mail.already:
            return Sent(backend=None, message_id=mail.message_id, error="it was sent before, or another job sends it")
        if mail.state == "sending":
            if (rest := self.settings.longest_doubt + mail.since) > 0:
                raise RetryLater(rest, "another run may be sending it just now")
            raise await self._doubt(ctx, mail, "its run ended before the server's answer was written down")
        if mail.state != "queued":
            raise Reject(mail.error or mail.state)  # the end that was told before
        return await self._send(ctx, mail)

    async def _send(self, ctx: Context, mail: Mail) -> Sent:
        """Try the servers in their order, until one has taken the mail or refused it."""
        settings, asked_last = self.settings, None
        said = mail.error or "every server is left alone for a while after failures"
        try:
            backends = self.backends.now()
        except NoBackends as problem:
            raise await self._later(ctx, mail, str(problem)) from None
        for backend in in_order(backends, mail.deferred):
            if self._breaker(backend).ask(self.clock()) is None:
                continue
            await self._turn(ctx, mail, backend)
            if (asked := self._breaker(backend).ask(self.clock())) is None:
                continue
            self.breakers[backend] = asked
            ended = await self._talk(ctx, mail, backend)
            bad = ended.meaning in (Meaning.DOWN, Meaning.DOUBT)
            self.breakers[backend] = self._breaker(backend).failed(self.clock()) if bad else Breaker()
            match ended.meaning:
                case Meaning.SENT:
                    return Sent(backend=backend.name, message_id=mail.message_id, error=ended.said)
                case Meaning.REFUSED:
                    await self._tell(ctx, "failed", ended.said, backend=backend.name)
                    raise Reject(ended.said or "refused")
                case Meaning.DOUBT:
                    raise await self._doubt(ctx, mail, ended.said or "no answer")
                case Meaning.LATER:
                    raise await self._later(ctx, mail, ended.said or "later", backend.name, deferred=True)
                case Meaning.DOWN:
                    asked_last, said = backend.name, ended.said or said
            if _left(ctx) < settings.talk_seconds:
                break
        raise await self._later(ctx, mail, said, asked_last)

    async def _turn(self, ctx: Context, mail: Mail, backend: Backend) -> None:
        """Wait for the mail's time at a server, here or in the queue; one that was granted before is used, if it is fresh."""
        wait = mail.slot if mail.slot_of == backend.name else None
        if wait is None or wait < -LATEST.total_seconds():
            wait = await self.store.reserve(ctx.job_id, ctx.generation, backend.name, backend)
        if wait > _left(ctx) - self.settings.talk_seconds:
            raise RetryLater(wait, f"its turn at {backend.name} comes in {wait:.0f} s")
        if wait > 0:
            await asyncio.sleep(wait)

    async def _talk(self, ctx: Context, mail: Mail, backend: Backend) -> Ended:
        settings = self.settings
        written = message(settings.sender, mail.recipients, mail.subject, mail.body, mail.message_id, mail.created_at)
        talk = Talk(backend, settings.reply_seconds)
        try:
            last = mail.attempts >= settings.requeues
            if ended := await talk.begin(settings.sender, mail.recipients, last=last):
                return ended
            if not await self.store.sending(ctx.job_id, ctx.generation, backend.name):
                raise RetryLater(settings.longest_doubt, "another run is sending it just now")
            return await _to_its_end(self._hand_over(ctx, written, talk))
        finally:
            talk.close()

    async def _hand_over(self, ctx: Context, written: bytes, talk: Talk) -> Ended:
        ended = await talk.hand_over(written)
        if ended.meaning is Meaning.SENT:
            await self._tell(ctx, "sent", ended.said)
        elif ended.meaning is not Meaning.DOUBT:
            await self._tell(ctx, "queued", ended.said, tried=False)
        return ended

    async def _later(
        self, ctx: Context, mail: Mail, said: str, backend: str | None = None, *, deferred: bool = False
    ) -> Exception:
        """Count a try that failed; return what sends the mail back to the queue, or to the dead letters."""
        tries = mail.attempts + 1
        if tries > self.settings.requeues:
            said = f"not sent in {tries} tries, the last: {said}"
            await self._tell(ctx, "failed", said, backend=backend)
            return Reject(said)
        await self._tell(ctx, "queued", said, backend=backend, deferred=deferred)
        return RetryLater(wait_before(tries, self.settings.first_wait_seconds), said)

    async def _doubt(self, ctx: Context, mail: Mail, said: str) -> Exception:
        if self.settings.send_in_doubt:
            return await self._later(ctx, mail, f"maybe sent, and is sent again: {said}")
        said = f"maybe sent: {said}. Look for {mail.message_id} at the server; a redrive sends it again"
        await self._tell(ctx, "maybe-sent", said)
        return Reject(said)

    async def _tell(
        self, ctx: Context, state: str, error: str | None, *, backend: str | None = None, tried: bool = True,
        deferred: bool = False,
    ) -> None:  # fmt: skip
        """Write it down, for as long as there is time: what is not written leaves a doubt."""
        while True:
            try:
                return await self.store.tell(
                    ctx.job_id, ctx.generation, state, error, backend=backend, tried=tried, deferred=deferred
                )
            except Away:
                if _left(ctx) < CLEAN_UP_SECONDS:
                    raise
                await asyncio.sleep(0.2)

    def _breaker(self, backend: Backend) -> Breaker:
        return self.breakers.get(backend, Breaker())


def _left(ctx: Context) -> float:
    return (ctx.deadline - datetime.now(UTC)).total_seconds()


async def _to_its_end(work: Coroutine[None, None, Ended]) -> Ended:
    """Do it, and for a moment go on when the run is stopped: the server's answer may be under way."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=CLEAN_UP_SECONDS)
        task.cancel()
        raise
