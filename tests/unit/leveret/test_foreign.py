"""Messages whose properties are not what AMQP says: read as far as they can be, and copied without harm."""

import struct
from typing import Any, cast

import pytest
from aio_pika import Message
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, header

from leveret import wire
from leveret.rabbitmq.foreign import read_anything

FLAGS = commands.Basic.Properties.flags
FRAME = 128 * 1024


@pytest.fixture(autouse=True, scope="module")
def _read_anything() -> None:
    read_anything()


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def table(*rows: bytes) -> bytes:
    joined = b"".join(rows)
    return struct.pack(">I", len(joined)) + joined


def read(**parts: bytes) -> Any:
    """Read a content header whose properties have these bytes; they are written in AMQP's order."""
    names = [name for name in commands.Basic.Properties.attributes() if name in parts]
    flags = sum(FLAGS[name] for name in names)
    frame = header.ContentHeader()
    frame.unmarshal(struct.pack(">HxxQH", 60, 0, flags) + b"".join(parts[name] for name in names))
    return frame.properties


def test_what_is_right_is_read_as_before() -> None:
    properties = read(
        message_id=short("é".encode()), timestamp=struct.pack(">Q", 1_700_000_000), delivery_mode=b"\2", priority=b"\5"
    )
    assert (properties.message_id, properties.delivery_mode, properties.priority) == ("é", 2, 5)
    assert properties.timestamp.timestamp() == 1_700_000_000


ODD = [
    pytest.param({"message_id": short(b"caf\xe9")}, "message_id", "caf?", id="Latin-1"),
    pytest.param({"message_type": short(b"\xff" * 255)}, "message_type", "?" * 255, id="as long as it was"),
    pytest.param({"timestamp": b"\xff" * 8}, "timestamp", None, id="a time that no calendar has"),
    pytest.param({"timestamp": struct.pack(">Q", 1_700_000_000 * 10**9)}, "timestamp", None, id="nanoseconds"),
    pytest.param({"delivery_mode": b"\7"}, "delivery_mode", None, id="a mode that there isn't"),
    pytest.param({"headers": table(short(b"\xe9"), b"t\1")}, "headers", {"?": True}, id="a name in Latin-1"),
    pytest.param(
        {"headers": table(short(b"a"), b"T" + b"\xff" * 8, short(b"b"), b"t\1")},
        "headers",
        {"b": True},
        id="a bad time",
    ),
    pytest.param(
        {"headers": table(short(b"a"), b"F" + table(short(b"\xff"), b"t\1"), short(b"b"), b"t\1")},
        "headers",
        {"b": True},
        id="a bad table",
    ),
    pytest.param(
        {"headers": table(short(b"b"), b"t\1", short(b"a"), b"?")}, "headers", {"b": True}, id="an unknown form"
    ),
]


@pytest.mark.parametrize(("parts", "name", "value"), ODD)
def test_what_is_not_is_read_as_far_as_it_can_be(parts: dict[str, bytes], name: str, value: object) -> None:
    properties = read(app_id=short(b"shop"), **parts)
    assert getattr(properties, name) == value
    assert properties.app_id == "shop", "and what follows it, too"


def test_a_table_of_any_depth_is_left_out() -> None:
    nested = b""
    for _ in range(3000):
        nested = short(b"a") + b"F" + table(nested)
    assert read(headers=table(nested, short(b"b"), b"t\1")).headers == {"b": True}


texts = st.binary(max_size=255).map(short)
values = (
    st.sampled_from([b"t\1", b"V", b"b\x80", b"l" + b"\x80" + b"\0" * 7, b"d\x7f\xef" + b"\xff" * 6, b"D\xff\0\0\0\1"])
    | st.binary(min_size=8, max_size=8).map(lambda raw: b"T" + raw)
    | st.binary(min_size=8, max_size=8).map(lambda raw: b"l" + raw)
    | st.floats(allow_nan=False, allow_infinity=False).map(lambda number: struct.pack(">cd", b"d", number))
    | st.integers(0, 40_000).map(lambda size: b"S" + table(b"x" * size))
    | st.binary(max_size=50).map(lambda raw: b"S" + table(raw))
    | st.binary(max_size=50).map(lambda raw: b"x" + table(raw))
)
nested_values = st.recursive(
    values,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda some: b"A" + table(*some))
        | st.lists(st.tuples(texts, inner), max_size=3).map(lambda rows: b"F" + table(*map(b"".join, rows)))
    ),
    max_leaves=5,
)
tables = st.lists(st.tuples(texts, nested_values).map(b"".join), max_size=6).map(lambda rows: table(*rows))
times = st.binary(min_size=8, max_size=8)
octets = st.binary(min_size=1, max_size=1)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "headers": tables,
            "timestamp": times,
            "delivery_mode": octets,
            "priority": octets,
            **dict.fromkeys(("message_id", "message_type", "correlation_id", "reply_to", "app_id"), texts),
        },
    )
)
def test_whatever_the_broker_delivers_can_be_read_and_copied(parts: dict[str, bytes]) -> None:
    properties = read(**parts)
    names = ("headers", "timestamp", "delivery_mode", "priority", "message_id", "correlation_id", "reply_to", "app_id")
    message: Any = Message(b"{}", type=properties.message_type, **{name: getattr(properties, name) for name in names})
    wire.from_message(message, "leveret.q")
    ours = {wire.REASON: "AttemptsExhausted", wire.ERROR: "x" * 8192, wire.DEAD_LETTER: "x" * 8192}
    copy = wire.copy_of(message, ours, reply_to=message.reply_to)
    assert len(header.ContentHeader(0, 2, cast(Any, copy.properties)).marshal()) < FRAME - 8
