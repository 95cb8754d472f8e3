"""Read messages whose properties are not what AMQP says they are.

The broker takes almost any bytes as a text, a time or a delivery mode, and any client may send them: Latin-1, a timestamp
in nanoseconds. Our client library takes such a message for a broken frame and closes the connection; the broker delivers
the message again, and so one message cuts off its consumer, with all that it runs, again and again. It also closes one
where a header is read by nobody. So what can't be read is read as far as it can be:

* in a text that is not UTF-8, each byte beyond ASCII is a `?`;
* a time that no calendar has, and a delivery mode that is neither 1 nor 2, are absent;
* so are the headers that can't be read; the others are there.

The library has no place for this but itself: `read_anything` changes it for the whole process. What it could read before
is read as before.
"""

from collections.abc import Callable
from struct import error as StructError  # noqa: N812 - a class, whatever its name

from pamqp import base, commands, decode

Value = object
_Unreadable = (ValueError, OverflowError, OSError, RecursionError, IndexError, StructError)


def read_anything() -> None:
    """Have every connection of this process read messages so."""
    commands.Basic.Properties.unmarshal = _unmarshal  # type: ignore[assignment,method-assign]


def _unmarshal(properties: commands.Basic.Properties, flags: int, data: bytes) -> None:
    try:
        base.BasicProperties.unmarshal(properties, flags, data)
    except _Unreadable:
        _salvage(properties, flags, data)
    if properties.delivery_mode not in (None, 1, 2):
        properties.delivery_mode = None


def _salvage(properties: commands.Basic.Properties, flags: int, data: bytes) -> None:
    for name in properties.__slots__:
        if flags & properties.flags[name]:
            size, value = _READERS[properties.amqp_type(name)](data)
            setattr(properties, name, value)
            data = data[size:]


def _octet(data: bytes) -> tuple[int, Value]:
    return 1, data[0]


def _short_text(data: bytes) -> tuple[int, Value]:
    end = 1 + data[0]
    return end, _text(data[1:end])


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("ascii", "replace").replace("\ufffd", "?")  # no longer than it was: it may have to fit again


def _time(data: bytes) -> tuple[int, Value]:
    try:
        return decode.timestamp(data)
    except _Unreadable:
        return 8, None


def _table(data: bytes) -> tuple[int, Value]:
    end = 4 + int.from_bytes(data[:4])
    found: dict[str, Value] = {}
    at = 4
    while at < end:
        size, key = _short_text(data[at:end])
        at += size
        try:
            size, found[str(key)] = decode.embedded_value(data[at:end])
        except _Unreadable:
            size = _size(data[at:end])
        at += size
    return end, found


def _size(data: bytes) -> int:
    """How many bytes a value takes that can't be read; all the rest where that is not known."""
    match data[:1]:
        case b"T":
            return 1 + 8
        case b"F" | b"A" | b"S" | b"x":
            return 1 + 4 + int.from_bytes(data[1:5])
        case _:
            return max(1, len(data))


_READERS: dict[str, Callable[[bytes], tuple[int, Value]]] = {
    "octet": _octet,
    "shortstr": _short_text,
    "table": _table,
    "timestamp": _time,
}
