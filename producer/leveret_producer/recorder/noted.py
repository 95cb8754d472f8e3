"""What a message says of a job's end is noted on it while it is set aside, since the headers that say it don't travel.

So it can be put back as it was. A dead letter is put back to the recorder alone, not to the exchange that it came through:
its queue of dead letters has it already. Such a message comes directly, and is read as what it was.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from aio_pika.abc import AbstractIncomingMessage, FieldValue

from leveret import topology, wire
from leveret.events import Error

EXCHANGE = "leveret-exchange"  # that it came through, where that was not the events'
NOTED = "leveret-noted"
CUT = "leveret-cut"  # its body was too large to be kept
_OURS = frozenset({wire.ROUTING_KEY, EXCHANGE, NOTED, wire.REASON})
_OF_AN_END = (
    wire.REASON,
    wire.STARTED_AT,
    wire.DIED_AT,
    wire.GIVEN_BACK_SINCE,
    wire.DELIVERED,
    wire.DEAD_LETTER,
    wire.DELAY,
    wire.RUN_AT,
    wire.PLUGINS_DELAY,
    "x-delivery-count",
    CUT,
    wire.ERROR,
)
_MOST = 40 * 1024  # bytes; beside 64 KiB of the message's own headers they fit into a frame
_SHORT = 255


class _Death(msgspec.Struct):
    queue: str
    reason: str
    time: datetime | None


class _Noted(msgspec.Struct):
    headers: dict[str, str | int]
    death: _Death | None = None


_read = msgspec.json.Decoder(_Noted).decode
_read_error = msgspec.json.Decoder(Error).decode


def note(message: AbstractIncomingMessage, *, cut: bool) -> str:
    """Return what the header `leveret-noted` says; of an error that is too large not the traceback, or nothing."""
    headers = {key: value for key in _OF_AN_END if (value := _simple(message.headers.get(key))) is not None}
    if cut:
        headers[CUT] = 1
    reason = {wire.REASON: str(headers[wire.REASON])[:_SHORT]} if wire.REASON in headers else {}
    small = {key: value for key, value in headers.items() if len(str(value)) <= _SHORT} | reason
    death = _death(message.headers.get("x-death"))
    for some in (headers, small | _without_traceback(headers.get(wire.ERROR)), small):
        noted = msgspec.json.encode(_Noted(some, death))
        if len(noted) <= _MOST:
            break
    return noted.decode()


def headers_before(headers: Mapping[str, FieldValue]) -> dict[str, FieldValue]:
    """Return the headers that a message had before it was set aside."""
    noted = _noted(headers.get(NOTED))
    before = {key: value for key, value in headers.items() if key not in _OURS} | noted.headers
    if noted.death:
        before["x-death"] = [msgspec.structs.asdict(noted.death)]
    return before


def restore(message: AbstractIncomingMessage) -> None:
    """Have a dead letter that was put back be what it was before; leave any other message alone."""
    key = message.headers.get(wire.ROUTING_KEY)
    if message.headers.get(EXCHANGE) == topology.DEAD and isinstance(key, str) and is_name(key) and _fits(message):
        before = {"exchange": topology.DEAD, "routing_key": key, "headers": headers_before(message.headers)}
        for name, value in before.items():
            setattr(message, name, value)  # a delivered one has these slots


def is_name(text: str) -> bool:
    """Say whether it can be a routing key or an exchange: anybody may write a longer one into a header."""
    return len(text.encode(errors="replace")) <= _SHORT


def _fits(message: AbstractIncomingMessage) -> bool:
    return len(message.body) <= wire.LARGEST_BODY


def _simple(value: object) -> str | int | None:
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


def _death(deaths: object) -> _Death | None:
    last = deaths[0] if isinstance(deaths, list) and deaths else None
    if not isinstance(last, Mapping):
        return None
    time = last.get("time")
    at = time if isinstance(time, datetime) else None
    return _Death(str(last.get("queue"))[:_SHORT], str(last.get("reason"))[:_SHORT], at)


def _without_traceback(error: object) -> dict[str, str | int]:
    try:
        told = _read_error(error) if isinstance(error, str) else None
    except (msgspec.MsgspecError, RecursionError):
        return {}
    return {wire.ERROR: msgspec.json.encode(msgspec.structs.replace(told, traceback=None)).decode()} if told else {}


def _noted(header: object) -> _Noted:
    """What can't have been noted by us is left out: anybody may publish here."""
    try:
        told = _read(header) if isinstance(header, str) else _Noted({})
    except (msgspec.MsgspecError, RecursionError):
        return _Noted({})
    return _Noted(
        {key: value for key, value in told.headers.items() if key in _OF_AN_END and _travels(value)}, told.death
    )


def _travels(value: str | int) -> bool:
    return isinstance(value, str) or abs(value) < 1 << 63
