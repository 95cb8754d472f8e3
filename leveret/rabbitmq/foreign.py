"""Read messages, and what the broker says of them, whose texts and times are not what AMQP says they are.

The broker takes almost any bytes as a text, a time or a delivery mode, and any client may send them: Latin-1, a timestamp
in nanoseconds. Our client library takes such a message for a broken frame and closes the connection; the broker delivers
the message again, and so one message cuts off its consumer, with all that it runs, again and again. It also closes one
where a header is read by nobody. Routing keys and the names of exchanges are such texts, and so is the broker's reason
for closing a channel, which it cuts at 255 bytes wherever that is. So what can't be read is read as far as it can be:

* in a text that is not UTF-8, each byte beyond ASCII is a `?`;
* a time that no calendar has, and a delivery mode that is neither 1 nor 2, are absent;
* so are the headers that can't be read, and what can't be of a header's table or list; the others are there.

The library has no place for this but itself: `read_anything` changes it for the whole process. What it could read before
is read as before.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812 - a class, whatever its name

from pamqp import commands, decode

Value = object
_Unreadable = (ValueError, OverflowError, OSError, IndexError, StructError)
_TooDeep = (*_Unreadable, RecursionError)


def read_anything() -> None:
    """Have every connection of this process read messages so."""
    decode.METHODS["shortstr"] = _short_text  # of every frame, and of every property
    commands.Basic.Properties.unmarshal = _unmarshal  # type: ignore[assignment,method-assign]


def _unmarshal(properties: commands.Basic.Properties, flags: int, data: bytes) -> None:
    at = 0
    try:
        for name, read in _there(flags):
            value, at = read(data, at)
            setattr(properties, name, value)
    except _TooDeep:
        _salvage(properties, flags, data)
    if properties.delivery_mode not in (None, 1, 2):
        properties.delivery_mode = None


@lru_cache(maxsize=100)
def _there(flags: int) -> list[tuple[str, "_Quick"]]:
    """Return which properties a message has, by its flags, and what reads each of them."""
    of = commands.Basic.Properties
    return [(name, _QUICK[of.amqp_type(name)]) for name in of.__slots__ if flags & of.flags[name]]


def _salvage(properties: commands.Basic.Properties, flags: int, data: bytes) -> None:
    for name in properties.__slots__:
        if flags & properties.flags[name]:
            size, value = _READERS[properties.amqp_type(name)](data)
            setattr(properties, name, value)
            data = data[size:]


def _short_text(data: bytes) -> tuple[int, str]:
    try:
        return decode.short_str(data)
    except UnicodeDecodeError:
        end = 1 + data[0]  # the text is no longer than it was: it may have to fit again
        return end, data[1:end].decode("ascii", "replace").replace("\ufffd", "?")


def _time(data: bytes) -> tuple[int, Value]:
    try:
        return decode.timestamp(data)
    except _Unreadable:
        return 8, None


def _headers(data: bytes) -> tuple[int, Value]:
    """A header that is too deep is left out as a whole, so that nobody has to go through what is left of it."""
    return _table(data, _TooDeep)


def _table(data: bytes, unreadable: tuple[type[Exception], ...] = _Unreadable) -> tuple[int, Value]:
    found: dict[str, Value] = {}
    at, end = 4, _end(data)
    while at < end:
        size, key = _short_text(data[at:end])
        at += size
        try:
            size, found[key] = _value(data[at:end])
        except unreadable:
            size = _size(data[at:end])
        at += size
    return end, found


def _list(data: bytes) -> tuple[int, Value]:
    found: list[Value] = []
    at, end = 4, _end(data)
    while at < end:
        try:
            size, value = _value(data[at:end])
            found.append(value)
        except _Unreadable:
            size = _size(data[at:end])
        at += size
    return end, found


def _value(data: bytes) -> tuple[int, Value]:
    match data[:1]:
        case b"F":
            size, value = _table(data[1:])
        case b"A":
            size, value = _list(data[1:])
        case _:
            return decode.embedded_value(data)
    return 1 + size, value


def _end(data: bytes) -> int:
    return min(4 + int.from_bytes(data[:4]), len(data))


def _size(data: bytes) -> int:
    """How many bytes a value takes that can't be read; all the rest where that is not known."""
    match data[:1]:
        case b"T":
            return 1 + 8
        case b"F" | b"A" | b"S" | b"x":
            return 1 + 4 + int.from_bytes(data[1:5])
        case _:
            return max(1, len(data))


def _quick_text(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(), end


def _quick_time(data: bytes, at: int) -> tuple[Value, int]:
    seconds: int | float = _STAMP(data, at)[0]
    # The library's guess: what lies behind the year 2106 is in milliseconds.
    return datetime.fromtimestamp(seconds if seconds < 1 << 32 else seconds / 1000, UTC), at + 8


def _quick_table(data: bytes, at: int) -> tuple[Value, int]:
    end = at + 4 + int.from_bytes(data[at : at + 4])
    if end > len(data):
        raise ValueError("a table that is cut off")
    found: dict[str, Value] = {}
    at += 4
    while at < end:
        key, at = _quick_text(data, at)
        if at > end:
            raise ValueError("a key that is cut off")
        kind = data[at]
        if kind == _SMALL:  # as attempts and generations are
            found[key], at = (data[at + 1] ^ 0x80) - 0x80, at + 2
        elif kind == _TEXT:
            begin, at = at + 5, at + 5 + int.from_bytes(data[at + 1 : at + 5])
            try:
                found[key] = data[begin:at].decode()
            except UnicodeDecodeError:
                found[key] = data[begin:at]
        else:
            size, found[key] = decode.embedded_value(data[at:])
            at += size
    return found, end


# Those of the library, for what is well, at a place in all the data: half the time of reading a message was theirs.
_Quick = Callable[[bytes, int], tuple[Value, int]]
_SMALL, _TEXT, _STAMP = ord("b"), ord("S"), Struct(">Q").unpack_from
_QUICK: dict[str, _Quick] = {
    "octet": lambda data, at: (data[at], at + 1),
    "shortstr": _quick_text,
    "table": _quick_table,
    "timestamp": _quick_time,
}
_READERS: dict[str, Callable[[bytes], tuple[int, Value]]] = {
    "octet": decode.octet,
    "shortstr": _short_text,
    "table": _headers,
    "timestamp": _time,
}
