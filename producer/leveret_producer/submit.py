"""Take jobs in: check them, store them all in one transaction, and hand them to the relay.

A request with a key that was stored before is answered as it was then, whatever has become of its queue meanwhile. That is
looked for only when nothing could be stored, so what comes for the first time costs no more for having a key.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

import uuid_utils.compat

from leveret.jobs import Envelope
from leveret.wire import deadline_of
from leveret_producer import idempotency
from leveret_producer.catalog import Catalog
from leveret_producer.in_flight import InFlight
from leveret_producer.metrics import Metrics
from leveret_producer.outbox.bound import RETRY_AFTER, Bound, Known, OutboxFull
from leveret_producer.outbox.hinting import Hinting
from leveret_producer.outbox.relay import Relay
from leveret_producer.own_ids import of_others, own_ids
from leveret_producer.problems import Flaw, Refused
from leveret_producer.queue_bound import QueueBound
from leveret_producer.scheduling import run_times
from leveret_producer.schemas import MOST_FLAWS, Schemas
from leveret_producer.slices import Slices, Steps
from leveret_producer.store.jobs import Jobs, NewJob, OfOtherQueues
from leveret_producer.store.keys import First, Key, Keys, KeyTaken
from leveret_producer.store.postgres import nothing_stored
from leveret_producer.store.queues import KnownQueue
from leveret_producer.submission import Submission, invalid

MOST_NAMED, LONGEST_NAMED = 10, 60  # types in a warning, and characters of each
AT_ONCE = 200  # jobs, of which each takes some 10 us


@dataclass(frozen=True, slots=True)
class Stored:
    jobs: list[NewJob]
    warning: str | None  # what whoever submitted them may not have meant
    before: bool = False  # by an earlier request with the same key


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """What a submit needs."""

    catalog: Catalog
    schemas: Schemas
    jobs: Jobs
    bound: Bound
    relay: Relay
    hinting: Hinting
    metrics: Metrics
    clock: Callable[[], datetime]
    keys: Keys
    queue_bound: QueueBound = field(default_factory=QueueBound)
    in_flight: InFlight = field(default_factory=InFlight)
    slices: Slices = field(default_factory=Slices)

    async def submit(self, queue: str, asked: Sequence[Submission], *, in_list: bool, key: Key | None = None) -> Stored:
        """Return what was stored, now or before with this key or these ids; raise Refused or DatabaseUnavailable."""
        if key is None:
            return await self._once(queue, asked, None, in_list=in_list)
        try:
            return await self._once(queue, asked, key, in_list=in_list)
        except (Refused, KeyTaken) as problem:
            first = await self.keys.first(key)
            if first is None:
                raise idempotency.in_progress() if isinstance(problem, KeyTaken) else problem from None
        if first.request != key.request:
            raise idempotency.reused(key.name)
        return await self.slices.run(_again(first, queue, asked, in_list=in_list))

    async def _once(self, queue: str, asked: Sequence[Submission], key: Key | None, *, in_list: bool) -> Stored:
        """Store jobs, but for those with ids that are there. If all are, that is answered whatever holds others up."""
        ids = own_ids(asked, self.clock(), in_list=in_list)
        try:
            there = await self.jobs.there(queue, ids) if ids else {}
            if key is None and len(there) == len(asked):
                before = [Envelope(own, queue, one.type, b"") for own, one in zip(ids, asked, strict=True)]
                return Stored([NewJob(job, None, there=there[job.id]) for job in before], None)
            return await self._store(queue, asked, key, there.keys(), own_ids=bool(ids), in_list=in_list)
        except OfOtherQueues as problem:
            raise invalid(of_others(asked, problem.queues, in_list=in_list)) from None

    async def _store(
        self,
        queue: str,
        asked: Sequence[Submission],
        key: Key | None,
        there: Set[UUID],
        *,
        own_ids: bool,
        in_list: bool,
    ) -> Stored:
        known = await self.catalog.find(queue)
        self.metrics.begin(queue)
        if flaws := await self.slices.run(self._flaws(known, asked, in_list=in_list)):
            raise invalid(flaws)
        now, ids = self.clock(), iter(uuid_utils.compat.uuid7, None)
        new = await self.slices.run(_made(queue, asked, now, ids, known.attempts_for, in_list=in_list))
        at_once = [one.job for one in new if one.due_at is None and one.job.id not in there]
        said = warning(known, {one.type for one in asked})
        with self._room(known, len(at_once)), self._room_in_outbox(len(at_once)):
            asked_at, lease = self.relay.clock(), self.relay.lease_for(len(at_once))
            inserted = await self.jobs.insert(new, now, lease, key, said, own_ids=own_ids)
        if before := inserted.there:  # the bounds learn with their next counts of what came in between
            at_once = [job for job in at_once if job.id not in before]
            new = [replace(one, there=before.get(one.job.id)) for one in new]
        if at_once:
            if lease > 0:
                await self.slices.run(self._hand_over(at_once, inserted.until, asked_at, self.bound.known(own=True)))
            self.hinting.committed(queue, len(at_once))
        self.metrics.submitted.labels(queue).inc(len(new) - len(before))
        return Stored(new, said)

    def _flaws(self, queue: KnownQueue, asked: Sequence[Submission], *, in_list: bool) -> Steps[list[Flaw]]:
        """Check the payloads one by one."""
        found: list[Flaw] = []
        for flaw in self.schemas.each(queue, asked, in_list=in_list):
            found += [flaw] if flaw is not None else []
            if len(found) == MOST_FLAWS:
                break
            yield
        return found

    def _hand_over(self, jobs: Sequence[Envelope], until: datetime, asked_at: float, known: Known) -> Steps[None]:
        for start in range(0, len(jobs), AT_ONCE):
            self.relay.offer(jobs[start : start + AT_ONCE], until, asked_at, known)
            yield

    @contextlib.contextmanager
    def _room(self, queue: KnownQueue, jobs: int) -> Iterator[None]:
        """Keep room in a queue for jobs while they are stored; raise Refused if there is none."""
        if queue.length is None:
            yield
            return
        self.queue_bound.admit(queue.name, queue.length, jobs, self.clock())
        try:
            yield
        except BaseException:
            self.queue_bound.not_stored(queue.name, jobs)
            raise
        self.queue_bound.stored(queue.name, jobs, self.clock())

    @contextlib.contextmanager
    def _room_in_outbox(self, jobs: int) -> Iterator[None]:
        """The same in the outbox; what was stored leaves it when it is confirmed."""
        try:
            self.bound.admit(jobs)
        except OutboxFull as full:
            raise _outbox_full(full) from full
        try:
            yield
        except BaseException as problem:
            (self.bound.not_stored if nothing_stored(problem) else self.bound.stored)(jobs)
            raise
        self.bound.stored(jobs)


def warning(queue: KnownQueue, types: Set[str]) -> str | None:
    """Say which types no consumer of the queue's present version has told; None if all were told."""
    untold = sorted(types - queue.handlers.keys())
    if not untold:
        return None
    told = f"those told are {_some(sorted(queue.handlers))}" if queue.handlers else "none has told any yet"
    return (
        f"No consumer of {queue.name} has told that it runs the type {_some(untold)}: {told}. This was stored, its payload "
        "unchecked. If there is no handler for it when it is its turn, it is a dead letter, UnknownType."
    )


def _some(types: Sequence[str]) -> str:
    more = f" and {len(types) - MOST_NAMED} more" if len(types) > MOST_NAMED else ""
    return ", ".join(repr(one[:LONGEST_NAMED]) for one in types[:MOST_NAMED]) + more


def _outbox_full(full: OutboxFull) -> Refused:
    return Refused(
        "outbox-full",
        f"About {full.waiting:,} jobs wait for the broker to confirm them, and the limit is {full.limit:,} (the chart's value "
        "producer.outboxLimit). They are kept, and published as soon as the broker takes them; of this request nothing was "
        "stored. Send it again later. GET /readyz tells how the broker is.",
        headers={"Retry-After": str(RETRY_AFTER)},
        stored="no",
    )


def _again(first: First, queue: str, asked: Sequence[Submission], *, in_list: bool) -> Steps[Stored]:
    """Make what was stored before from what was kept of it and the same request."""
    ids = (made for made, one in zip(first.ids, asked, strict=True) if one.id is None)
    new = yield from _made(queue, asked, first.created_at, ids, lambda _: first.max_attempts, in_list=in_list)
    return Stored(new, first.warning, before=True)


def _made(
    queue: str,
    asked: Sequence[Submission],
    now: datetime,
    ids: Iterator[UUID],
    attempts_for: Callable[[str], int | None],
    *,
    in_list: bool,
) -> Steps[list[NewJob]]:
    made: list[NewJob] = []
    for start in range(0, len(asked), AT_ONCE):
        some = asked[start : start + AT_ONCE]
        for one, run_at in zip(some, run_times(some, now, in_list=in_list, first=start), strict=True):
            deadline = one.deadline and deadline_of(one.deadline)
            job = Envelope(
                one.id or next(ids), queue, one.type, bytes(one.payload), submitted_at=now, deadline=deadline
            )
            made.append(NewJob(job, attempts_for(one.type), run_at, run_at if run_at and run_at > now else None))
        yield
    return made
