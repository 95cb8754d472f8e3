"""The operator's connection to the broker, and everything that is done over it.

One session after the other (`stay_connected`): each declares the shared topology, and again every few seconds what of it
somebody may have deleted and nobody missed; it opens the inbox, and publishes what waits. Between sessions every question
has the answer *unknown*.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelPreconditionFailed, ConnectionInternalError

from leveret.ending import end
from leveret.rabbitmq.claim import BrokerShared
from leveret.rabbitmq.connection import BrokerErrors, open_connection, stay_connected
from leveret.rabbitmq.declare import Declared, declare, declare_apart
from leveret.rabbitmq.publisher import Publisher
from leveret.rabbitmq.signalling import Signalling
from leveret.rabbitmq.version import BrokerTooOld
from leveret.scaling.backlog import Depth
from leveret.settings import Broker, MissingSetting
from leveret.signals import Signal
from leveret.topology import for_queue, shared
from leveret_operator.announcements import Announcements
from leveret_operator.broker_session import Session, look_after
from leveret_operator.fence import Held, WhileHeld, alone
from leveret_operator.live_depths import LiveDepths, QueueMissing
from leveret_operator.present_versions import PresentVersions
from leveret_operator.signal_inbox import open_inbox

log = structlog.get_logger(__name__)

DECLARE_TIMEOUT = 20.0  # s
LOOKS_AFTER_EVERY = 10.0  # s
SILENT_AFTER = timedelta(seconds=10)  # without an answer on a connection that looks alive
ASK_AGAIN = timedelta(seconds=5)  # then
NOT_TRIED = "no connection was made yet"


class QueueDiffers(Exception):
    """A queue of this name exists with other arguments."""


class NotDeclared(Exception):
    """The broker did not take the declaration; it is tried again."""

    @property
    def refused(self) -> bool:
        return _refused(str(self))

    @property
    def unmade(self) -> bool:
        return isinstance(self.__cause__, ConnectionInternalError)


class BrokerLink:
    """Says whether the broker is there, and passes on what is asked of it."""

    def __init__(
        self,
        announcements: Announcements,
        versions: PresentVersions,
        *,
        heard: Callable[[Signal], None],
        changed: Callable[[], None],
        clock: Callable[[], datetime],
        asked: Callable[[str], None],
        held: Held = alone,
        looks_after_every: float = LOOKS_AFTER_EVERY,
    ) -> None:
        """`heard` takes signals, `changed` is called when the broker comes or goes; each write waits for `held`."""
        self._announcements, self._versions = announcements, versions
        self._heard, self._changed = heard, changed
        self._clock, self._asked, self._held, self._looks_after_every = clock, asked, held, looks_after_every
        self._session: Session | None = None
        self._broker: Broker | None = None  # of the latest connection
        self._sessions = 0
        self._silent_since: datetime | None = None
        self._asked_at: datetime | None = None
        self.problem = NOT_TRIED
        self.unfit: str | None = None  # BrokerTooOld or BrokerShared: the broker answers, and nothing is done on it
        self.unmade: Mapping[str, str] = {}  # shared queues that the broker can't make, with a sentence on each

    @property
    def refused(self) -> bool:
        """Whether the broker doesn't take who we say we are, or doesn't let them do what is needed."""
        return _refused(self.problem)

    @property
    def session(self) -> int | None:
        """The number of the session, so that its caller knows what was declared in it; None if there is none."""
        return self._session.number if self._session else None

    async def run(self, read: Callable[[], Broker], name: str) -> None:
        """Stay connected until cancelled."""

        def address() -> Broker:
            try:
                return read()
            except (MissingSetting, ValueError) as problem:
                self.unfit = None
                raise ConnectionError(str(problem)) from problem

        await stay_connected(address, name, self._work, self, opens=self._open, lacks=self._lacks)

    async def _open(self, broker: Broker, name: str) -> AbstractConnection:
        await self._held()  # the first thing that is done over a connection is to claim the virtual host
        try:
            connection = await open_connection(broker, name)
        except BrokerErrors as problem:
            self.unfit = type(problem).__name__ if isinstance(problem, (BrokerTooOld, BrokerShared)) else None
            raise
        self.unfit, self._broker = None, broker
        return connection

    def _lacks(self, unmade: Mapping[str, str]) -> None:
        self.unmade = dict(unmade)
        self._changed()

    def connected(self) -> None:
        """The connection is there; the session begins when its work has."""

    def disconnected(self, because: str) -> None:
        self._session = None
        self.problem = because
        self._changed()

    async def declare(self, queue: str) -> bool:
        """Declare a job queue and its dead letters, and say whether it is new; raise QueueDiffers or NotDeclared."""
        await self._held()
        if self._session is None:
            raise NotDeclared(self.problem)
        self._asked("declare")
        try:
            async with asyncio.timeout(DECLARE_TIMEOUT):
                session, wanted = self._session, for_queue(queue)
                there = await session.depths.read(one.name for one in wanted.queues)
                if any(isinstance(answer, QueueMissing) for answer in there.values()):  # it may end the connection
                    await declare_apart(session.declared.unmade, wanted)
                else:
                    async with await session.declared.channel() as channel:
                        await declare(channel, wanted)
                return isinstance(there[queue], QueueMissing)
        except ChannelPreconditionFailed as problem:
            raise QueueDiffers(str(problem)) from problem
        except BrokerErrors as problem:
            raise NotDeclared(f"{type(problem).__name__}: {problem}") from problem

    def misses(self, queue: str) -> bool:
        """Say whether something of a declared queue has turned out to be missing. Ask often: only then is it looked after."""
        if self._session is None:
            return False
        self._session.looked_after.add(queue)
        missing = queue in self._session.missing
        self._session.missing.discard(queue)
        return missing

    @property
    def silent(self) -> bool:
        """Whether questions have got no answer for 10 s: a broker that hangs keeps its connections for a while."""
        return self._silent_since is not None and self._clock() - self._silent_since > SILENT_AFTER

    async def live(self, queue: str) -> Depth | QueueMissing | None:
        """Ask one queue for its depth now; None if it does not answer."""
        now = self._clock()
        if self._session is None or (self.silent and self._asked_at and now - self._asked_at < ASK_AGAIN):
            return None
        self._asked_at = now
        answer = (await self._session.depths.read([queue]))[queue]
        self._silent_since = None if answer is not None else self._silent_since or now
        return answer

    async def is_empty(self, queue: str) -> bool:
        return await self._session.depths.is_empty(queue) if self._session else False

    async def has_none_ready(self, queue: str) -> bool:
        """Whether a queue of dead letters answers that nothing waits in it.

        Weaker than `is_empty`, and all there is: the broker refuses a `basic.get` on a queue with a single active consumer.
        A queue without its leader answers 0 here, too; what tells it apart are the bulk numbers, which it doesn't give, so
        two bulk zeros must have come before.
        """
        answer = await self.live(queue)
        return isinstance(answer, Depth) and answer.ready == 0

    async def _work(self, connection: AbstractConnection) -> None:
        await self._held()
        async with asyncio.timeout(DECLARE_TIMEOUT):
            async with await connection.channel(publisher_confirms=False) as channel:
                await declare(channel, shared())
            declared = Declared(connection, shared(), await open_inbox(connection, self._heard))
            publisher = await Publisher.open(connection, declared=declared)
        self._sessions += 1
        depths = LiveDepths(connection, self._clock, self._asked)
        session = self._session = Session(self._sessions, connection, declared, depths)
        self._silent_since = None
        self._announcements.new_connection()
        self._versions.new_connection()
        log.info("broker is connected")
        self._changed()
        out = WhileHeld(self._held, publisher, Signalling(declared))
        works = (
            self._announcements.publish(out),
            self._versions.tell(out.send, self._clock),
            look_after(session, self._broker, self._looks_after_every, self._held),
        )
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._session = None
            await end(tasks)


def _refused(problem: str) -> bool:
    """By the names that AMQP gives its reply codes 403 and 530."""
    return "ACCESS_REFUSED" in problem or "NOT_ALLOWED" in problem
