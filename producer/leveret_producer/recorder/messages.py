"""What the store keeps of messages, as far as reports bring them, so that it can publish their jobs again."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

import msgspec

from leveret import wire
from leveret.events import JobEvent
from leveret.jobs import Envelope, State
from leveret_producer.recorder.merge import LONGEST_TYPE, Report, clean


@dataclass(frozen=True, slots=True)
class MessageRow:
    """What it takes to publish a message once more."""

    id: UUID
    body: str  # empty if PostgreSQL doesn't take it as a text
    raw: bytes | None  # it is here then
    reply_to: str | None
    priority: int | None
    traceparent: str | None
    headers: str | None  # JSON


def messages(reports: Iterable[Report]) -> list[MessageRow]:
    """Return, sorted by id, what is to be kept so that a job can be published again."""
    rows: dict[UUID, MessageRow] = {}
    for report in reports:
        if brings_message(report):
            event = report.event
            rows.setdefault(event.id, message_row(event.id, bytes(event.payload), event))
    return [rows[one] for one in sorted(rows)]


def message_row(id: UUID, payload: bytes, of: JobEvent | Envelope) -> MessageRow:
    body, raw = _as_text(payload)
    reply_to, priority, traceparent = of.reply_to, of.priority, of.traceparent
    headers = wire.stored_headers(of.headers) if of.headers else None
    return MessageRow(
        id=id,
        body=body,
        raw=raw,
        reply_to=None if reply_to is None else clean(reply_to, LONGEST_TYPE),
        priority=None if priority is None else max(0, min(priority, 255)),
        traceparent=None if traceparent is None else clean(traceparent, LONGEST_TYPE),
        headers=msgspec.json.encode(headers).decode() if headers else None,
    )


def _as_text(payload: bytes) -> tuple[str, bytes | None]:
    try:
        body = payload.decode()
    except UnicodeDecodeError:
        return "", payload
    return ("", payload) if "\0" in body else (body, None)


def brings_message(report: Report) -> bool:
    if report.letter:
        return report.letter.keeps_body
    event = report.event
    return event.publish_at is not None and event.state is State.RETRYING and bool(bytes(event.payload))


def needs_message(event: JobEvent) -> bool:
    """Say whether the store must know the payload already to do what the event asks for."""
    return event.publish_at is not None and event.state is State.RETRYING and not bytes(event.payload)
