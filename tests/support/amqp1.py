"""A client of AMQP 1.0, as far as it takes to send one message: RabbitMQ speaks it on the same port.

What its clients write arrives at ours unchanged where one of AMQP 0-9-1 can't even send it.
"""

import asyncio
import struct

from leveret.settings import Broker

_NULL, _TRUE, _FALSE, _ZERO = b"\x40", b"\x41", b"\x42", b"\x43"
_OPEN, _BEGIN, _ATTACH, _TRANSFER, _DISPOSITION, _CLOSE = 0x10, 0x11, 0x12, 0x14, 0x15, 0x18
_SASL_MECHANISMS, _SASL_INIT, _SASL_OUTCOME = 0x40, 0x41, 0x44


async def send(broker: Broker, address: str, body: bytes, *, message_id: str, type: str, reply_to: str) -> None:
    """Send a durable message to an address such as `/exchanges/NAME/KEY`; return when the broker has taken it."""
    reader, writer = await asyncio.open_connection(broker.host, broker.port)
    try:
        await _greet(reader, writer, 3)
        await _frame(reader, _SASL_MECHANISMS)
        plain = f"\0{broker.username}\0{broker.password}".encode()
        _write(writer, _SASL_INIT, _symbol("PLAIN"), b"\xa0" + bytes([len(plain)]) + plain, kind=1)
        await _frame(reader, _SASL_OUTCOME)
        await _greet(reader, writer, 0)
        _write(writer, _OPEN, _text("amqp1"), _text(f"vhost:{broker.vhost}"))
        _write(writer, _BEGIN, _NULL, _ZERO, _number(100), _number(100))
        source, target = _described(0x28, _text("here")), _described(0x29, _text(address))
        unsettled = b"\x50\0"
        _write(writer, _ATTACH, _text("link"), _ZERO, _FALSE, unsettled, unsettled, source, target, _NULL, _NULL, _ZERO)
        await _frame(reader, _ATTACH)
        message = (
            _described(0x70, _TRUE)
            + _annotation("x-basic-type", type)
            + _described(0x73, _text(message_id), _NULL, _NULL, _NULL, _text(reply_to))
            + b"\0\x53\x75\xb0"
            + struct.pack(">I", len(body))
            + body
        )
        _write(writer, _TRANSFER, _ZERO, _ZERO, b"\xa0\x01t", _ZERO, _FALSE, payload=message)
        await _frame(reader, _DISPOSITION)
        _write(writer, _CLOSE)
    finally:
        writer.close()
        await writer.wait_closed()


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: int) -> None:
    header = b"AMQP" + bytes([protocol, 1, 0, 0])
    writer.write(header)
    assert await reader.readexactly(8) == header


async def _frame(reader: asyncio.StreamReader, code: int) -> None:
    """Read frames until one of that kind; a broker that closes fails this with what it said."""
    while True:
        (size,) = struct.unpack(">I", await reader.readexactly(4))
        frame = await reader.readexactly(size - 4)
        if frame[4:7] == b"\0\x53" + bytes([code]):
            return
        assert frame[4:7] != b"\0\x53" + bytes([_CLOSE]), frame


def _write(writer: asyncio.StreamWriter, code: int, *fields: bytes, kind: int = 0, payload: bytes = b"") -> None:
    body = _described(code, *fields) + payload
    writer.write(struct.pack(">IBBH", 8 + len(body), 2, kind, 0) + body)


def _described(code: int, *fields: bytes) -> bytes:
    content = b"".join(fields)
    return b"\0\x53" + bytes([code]) + b"\xd0" + struct.pack(">II", 4 + len(content), len(fields)) + content


def _annotation(key: str, value: str) -> bytes:
    content = _symbol(key) + _text(value)
    return b"\0\x53\x72\xd1" + struct.pack(">II", 4 + len(content), 2) + content


def _text(text: str) -> bytes:
    return b"\xa1" + bytes([len(text.encode())]) + text.encode()


def _symbol(text: str) -> bytes:
    return b"\xa3" + bytes([len(text)]) + text.encode()


def _number(value: int) -> bytes:
    return b"\x70" + struct.pack(">I", value)
