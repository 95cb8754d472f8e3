"""What a batch of messages says, and what of it has to be set aside."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from leveret import events, topology, wire
from leveret.rabbitmq.publisher import persistent_json
from leveret_producer.recorder import letters
from leveret_producer.recorder.merge import Report
from leveret_producer.recorder.noted import EXCHANGE, NOTED, note, restore
from leveret_producer.recorder.told import Told
from leveret_producer.slices import Steps, at_once

_LONGEST_REASON = 2_000
_LARGEST_LIST = 2 << 20  # bytes; a consumer's are half of that at most
_SMALLEST_EVENT = 50  # bytes; no event is as small
_NO_BODY = "its body, too large to be kept here, is in its queue of dead letters only"


@dataclass(frozen=True, slots=True)
class SetAside:
    """An event that can't be recorded, as it can be published again once the cause is gone."""

    routing_key: str
    body: bytes
    because: str
    letter: AbstractIncomingMessage | None = None  # the message itself, where it's no event

    @classmethod
    def of_report(cls, report: Report, because: str) -> "SetAside":
        if report.letter:
            return cls.of_letter(report.letter.message, because)
        return cls(f"job.{report.queue}", events.encode([report.event]), because)

    @classmethod
    def of_letter(cls, message: AbstractIncomingMessage, because: str) -> "SetAside":
        return cls(message.routing_key or "", message.body, because, message)

    @classmethod
    def of_message(cls, message: AbstractIncomingMessage, because: str) -> "SetAside":
        if message.exchange == topology.EVENTS:
            return cls(message.routing_key or "", message.body, because)
        return cls.of_letter(message, because)

    @classmethod
    def of_told(cls, told: Told, because: str) -> "SetAside":
        name, event = told
        match event:
            case events.HandlersRegistered():
                kind = "handlers"
            case events.JobQueuesListed():
                kind = "jobqueues"
            case _:
                kind = "queue"
        return cls(f"{kind}.{name}", events.encode(event), because)

    def message(self) -> aio_pika.Message:
        headers = {wire.REASON: self.because[:_LONGEST_REASON], wire.ROUTING_KEY: self.routing_key}
        if self.letter:
            headers[EXCHANGE] = self.letter.exchange or ""
            headers[NOTED] = note(self.letter, cut=not letters.is_whole(self.letter))
            copy = wire.copy_of(self.letter, headers, reply_to=self.letter.reply_to)
            if not letters.is_whole(self.letter):
                copy.body, copy.headers[wire.REASON] = b"", f"{self.because}; {_NO_BODY}"[:_LONGEST_REASON]
            return copy
        return persistent_json(self.body, headers)


AskedCancel = tuple[str, events.CancelRequested]  # with the queue


@dataclass(slots=True)
class Batch:
    reports: list[Report] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    cancels: list[AskedCancel] = field(default_factory=list)
    aside: list[SetAside] = field(default_factory=list)


def read(message: AbstractIncomingMessage, batch: Batch, now: datetime) -> None:
    """Add what a message says to a batch. The queue is the routing key's, whatever the body says."""
    at_once(reading(message, batch, now))


def reading(message: AbstractIncomingMessage, batch: Batch, now: datetime) -> Steps[None]:
    yield
    if not message.exchange:
        restore(message)
    if message.exchange == topology.DEAD:
        batch.reports.append(letters.dead_letter(message, now))
        return
    key = message.routing_key or ""
    try:
        _add(*events.decode(key, message.body), batch)
    except ValueError as problem:
        yield from _read_each(key, message.body, batch, str(problem))


def _read_each(key: str, body: bytes, batch: Batch, because: str) -> Steps[None]:
    """Read events on jobs one by one, so that a bad one does not take its neighbours with it.

    The bad ones stay together: a message could hold half a million. One that isn't as large as ours are, or in which
    most can be no events, stays whole: to look at each would hold up all others.
    """
    try:
        found = (yield from events.each(body)) if key.startswith("job.") and len(body) <= _LARGEST_LIST else []
        alone = [b"[%b]" % one for one in found] if len(found) * _SMALLEST_EVENT <= len(body) else []
    except ValueError:  # not even a list; or one that breaks off, and nobody knows where its events end
        alone = []
    if not alone:
        batch.aside.append(SetAside(key, body, because))
    bad: list[bytes] = []
    for one in alone:
        yield
        try:
            _add(*events.decode(key, one), batch)
        except ValueError as problem:
            because = because if bad else str(problem)
            bad.append(one[1:-1])
    if bad:
        batch.aside.append(SetAside(key, b"[%b]" % b",".join(bad), because))


def _add(name: str, content: events.Event, batch: Batch) -> None:
    match content:
        case list():
            batch.reports.extend(Report(name, event) for event in content)
        case events.CancelRequested():
            batch.cancels.append((name, content))
        case _:
            batch.told.append((name, content))


def rounds(reports: Sequence[Report]) -> list[list[Report]]:
    """Split reports so that in each part a job is reported on for one queue only, the first to name it first."""
    parts: list[list[Report]] = []
    owners: list[dict[UUID, str]] = []
    for report in reports:
        for part, owner in zip(parts, owners, strict=True):
            if owner.setdefault(report.event.id, report.queue) == report.queue:
                part.append(report)
                break
        else:
            parts.append([report])
            owners.append({report.event.id: report.queue})
    return parts


def cancel_rounds(asked: Sequence[AskedCancel]) -> list[list[AskedCancel]]:
    """Split requests so that in each part a job is named once; of a queue's for one job the latest generation counts."""
    newest = {(queue, one.id): (queue, one) for queue, one in sorted(asked, key=lambda told: told[1].generation)}
    parts: list[dict[UUID, AskedCancel]] = []
    for (_, job), one in newest.items():
        part = next((part for part in parts if job not in part), None)
        if part is None:
            parts.append(part := {})
        part[job] = one
    return [list(part.values()) for part in parts]
