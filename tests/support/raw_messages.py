"""Messages byte by byte, with pika: a client library would not write most of them."""

import struct

import pika  # type: ignore[import-untyped]
from pika.spec import BasicProperties  # type: ignore[import-untyped]

# Flag and form of each property that is used here; AMQP writes them in the order of their flags.
_FLAGS = {
    "content_type": 15, "content_encoding": 14, "headers": 13, "delivery_mode": 12, "priority": 11, "correlation_id": 10,
    "reply_to": 9, "expiration": 8, "message_id": 7, "timestamp": 6, "type": 5, "app_id": 3,
}  # fmt: skip

Fields = dict[str, bytes | int]

# Bytes that are no text, or one that nobody expects: as a routing key, a name, or any short text.
ODD_TEXTS = {
    "Latin-1": b"caf\xe9",
    "as long as it may be": b"\xff" * 255,
    "nothing": b"",
    "NUL": b"a\0b",
    "longer than need be": b"a\xc0\xaf",
    "surrogates": b"a\xed\xa0\x80\xed\xb0\x80",
    "beyond Unicode": b"a\xf4\x90\x80\x80",
    "cut within a character": b"caf\xc3",
    "behind job.": b"job.\xe9",
    "behind queue.": b"queue.\xff",
    "like a pattern": b"#.*.\x80",
}


class Raw(BasicProperties):  # type: ignore[misc]
    """Properties as bytes, whatever they mean."""

    def __init__(self, **fields: bytes | int) -> None:
        super().__init__()
        flags = sum(1 << _FLAGS[name] for name in fields)
        parts = [_written(name, fields[name]) for name in _FLAGS if name in fields]
        self._bytes = struct.pack(">H", flags) + b"".join(parts)

    def encode(self) -> list[bytes]:
        return [self._bytes]


class RawName(str):
    """The name of an exchange as bytes: pika takes nothing but text."""

    __slots__ = ("_raw",)

    def __new__(cls, raw: bytes) -> "RawName":
        name = super().__new__(cls, raw.decode("latin-1"))
        name._raw = raw
        return name

    def encode(self, *_: object) -> bytes:
        return self._raw


def readable(raw: bytes) -> str:
    """What Leveret makes of a text."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 128 else "?" for byte in raw)


def header(key: bytes, form: bytes, value: bytes) -> bytes:
    return bytes([len(key)]) + key + form + value


def sized(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def nested(depth: int) -> bytes:
    table = b""
    for _ in range(depth):
        table = header(b"a", b"F", sized(table))
    return table


def connect(host: str, port: int, user: str, password: str, vhost: str) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.ConnectionParameters(host, port, vhost, pika.PlainCredentials(user, password)))


def _written(name: str, value: bytes | int) -> bytes:
    if isinstance(value, bytes):
        return struct.pack(">I", len(value)) + value if name == "headers" else bytes([len(value)]) + value
    return struct.pack(">Q", value) if name == "timestamp" else bytes([value])
