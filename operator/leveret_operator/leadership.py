"""Whether this process is the namespace's operator: it takes the Lease, renews it, and knows for how long it may write.

Without the Lease nothing is written, to Kubernetes or to the broker. It is renewed every 5 s. A holder that could not for
12 s writes nothing, since others may take it after 15 s, and goes on when it has renewed it. If somebody else has taken it, what
this process knows is old, and the process ends.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from leveret.telemetry.probes import Readiness
from leveret_operator.jobqueue import Json
from leveret_operator.kubernetes_api import ApiGone, ApiRefused
from leveret_operator.lease import DURATION, NAME, Candidate, Seen, is_free, see, taken

log = structlog.get_logger(__name__)

RENEW_EVERY = 5.0  # s
LOOK_EVERY = 2.0  # s, while it could not be renewed or is another's
ANSWERED_WITHIN = 4.0  # s
# What is on its way to the API server when this ends has 3 s to arrive.
MAY_WRITE_FOR = DURATION - timedelta(seconds=3)
AWAY = "away"
SAY_AGAIN = timedelta(minutes=1)


class LeaseLost(Exception):
    """Another operator has taken the Lease of this one."""


class Leases(Protocol):
    async def read_lease(self, name: str) -> Json | None: ...
    async def write_lease(self, name: str, lease: Json, *, new: bool) -> Json: ...


class Leadership:
    def __init__(self, who: Candidate, namespace: str, clock: Callable[[], datetime]) -> None:
        self._who, self._namespace, self._clock = who, namespace, clock
        self._seen: Seen | None = None
        self._until: datetime | None = None  # it may write
        self._problem = f"the Lease {NAME} was not read yet"
        self._said: tuple[str, datetime] | None = None
        self._renewed = asyncio.Event()

    def may_write_for(self) -> float:
        """Return for how many seconds this process may write; 0 or less: it may not."""
        return 0.0 if self._until is None else (self._until - self._clock()).total_seconds()

    async def held(self) -> None:
        """Return once this process may write."""
        while self.may_write_for() <= 0:
            self._renewed.clear()
            await self._renewed.wait()

    def readiness(self) -> Readiness | None:
        """Say why nothing is written; None while this process is the operator."""
        return None if self.may_write_for() > 0 else Readiness(False, self._problem)

    async def run(self, leases: Leases) -> None:
        """Take it and keep it until cancelled; raise LeaseLost once another has taken it."""
        while True:
            renewed = await self.claim(leases)
            await asyncio.sleep(RENEW_EVERY if renewed else LOOK_EVERY)

    async def claim(self, leases: Leases) -> bool:
        """Take or renew it if that may be; return whether it was. Raises LeaseLost."""
        asked = self._clock()
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):
                found = await leases.read_lease(NAME)
                self._seen = see(self._seen, found, self._clock())
                if self._until is not None and self._seen.holder != self._who.identity:
                    raise LeaseLost(
                        f"{self._seen.holder or 'another, gone by now,'} has taken the Lease {NAME}; what this operator knows is "
                        "old, so it ends"
                    )
                if not is_free(self._seen, self._who, self._clock()):
                    return self._not_ours(self._seen.holder)
                await self._write(leases, found, self._who.identity)
        except TimeoutError:
            return self._say(f"the API server did not answer within {ANSWERED_WITHIN:g} s", AWAY)
        except ApiGone as problem:
            return self._say(str(problem), AWAY)
        except ApiRefused as problem:
            grant = "; give the operator's Role `create` on leases, and `get` and `update` on this one"
            return self._say(f"{problem}{grant if problem.status == 403 else ''}")
        if self.may_write_for() <= 0:
            log.info("the Lease is this operator's", lease=NAME, holder=self._who.identity)
        self._until, self._said = asked + MAY_WRITE_FOR, None
        self._renewed.set()
        return True

    async def release(self, leases: Leases) -> None:
        """Let the next operator have it at once. Call when nothing is written any more."""
        if self._until is None:
            return
        self._until = None
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):
                found = await leases.read_lease(NAME)
                if found is not None and see(None, found, self._clock()).holder == self._who.identity:
                    await self._write(leases, found, "")
        except (ApiGone, ApiRefused, TimeoutError) as problem:
            log.warning(
                "the Lease could not be released; the next operator waits until it is over", because=str(problem)
            )

    async def _write(self, leases: Leases, found: Json | None, holder: str) -> None:
        lease = taken(found, holder, self._namespace, self._clock())
        self._seen = see(None, await leases.write_lease(NAME, lease, new=found is None), self._clock())

    def _not_ours(self, holder: str) -> bool:
        return self._say(
            f"{holder} holds it, and a namespace has one operator: stop this one, or that one. Released, it is taken at "
            f"once, and {DURATION.total_seconds():g} s after it was last renewed"
        )

    def _say(self, because: str, kind: str = "") -> bool:
        """Log it when it is new, or of another kind, and once a minute."""
        now, who = self._clock(), f"the Lease {NAME} of the namespace {self._namespace}"
        self._problem = f"this operator writes nothing: it does not hold {who}: {because}"
        kind = kind or because
        new = self._said is None or self._said[0] != kind or now - self._said[1] >= SAY_AGAIN
        if new and self.may_write_for() <= 0:
            self._said = (kind, now)
            log.warning("this operator writes nothing: it does not hold the Lease", lease=NAME, because=because)
        return False
