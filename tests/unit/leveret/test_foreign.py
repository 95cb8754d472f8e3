"""Messages whose properties are not what AMQP says: read as far as they can be, and copied without harm."""

import struct
from typing import Any, cast

import pytest
from aio_pika import Message
from hypothesis import given
from hypothesis import strategies as st
from pamqp import base, commands, decode, frame, header

from leveret import wire
from leveret.rabbitmq.foreign import read_anything

FLAGS = commands.Basic.Properties.flags
FRAME = 128 * 1024
MARK = "here"


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


def by_the_library(parts: dict[str, bytes]) -> dict[str, object] | None:
    """What the library alone makes of the properties; None where it can't read them."""
    properties = commands.Basic.Properties()
    names = [name for name in properties.attributes() if name in parts]
    data = b"".join(parts[name] for name in names)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(decode.METHODS, "shortstr", decode.short_str)
        try:
            base.BasicProperties.unmarshal(properties, sum(FLAGS[name] for name in names), data)
        except (ValueError, OverflowError, OSError):
            return None
    return dict(properties) if properties.delivery_mode in (None, 1, 2) else None


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
        {"a": {"?": True}, "b": True},
        id="a name in Latin-1 in a table",
    ),
    pytest.param(
        {
            "headers": table(
                short(b"x-death"),
                b"A" + table(b"F" + table(short(b"\xe9"), b"S" + table(b"\xe9"), short(b"n"), b"l\0\0\0\0\0\0\0\1")),
                short(b"at"),
                b"A" + table(b"T" + b"\xff" * 8, b"t\1"),
            )
        },
        "headers",
        {"x-death": [{"?": b"\xe9", "n": 1}], "at": [True]},
        id="tables and times in lists",
    ),
    pytest.param(
        {"headers": table(short(b"a"), b"F" + struct.pack(">I", 99) + short(b"b"))},
        "headers",
        {"a": {"b": None}},
        id="a table that is shorter than it says",
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


@pytest.mark.parametrize(
    ("form", "before", "behind"),
    [(b"F", short(b"a"), b""), (b"F", short(b"a"), short(b"\xe9") + b"t\1"), (b"A", b"", b"")],
    ids=["tables", "tables with a bad name at each level", "lists"],
)
def test_a_header_of_any_depth_is_left_out(form: bytes, before: bytes, behind: bytes) -> None:
    nested = b"V"
    for _ in range(3000):
        nested = form + table(before, nested, behind)
    assert read(headers=table(short(b"a"), nested, short(b"b"), b"t\1")).headers == {"b": True}


# Bytes that are no UTF-8, and what is read; the same wherever there is a short text.
BAD = [
    pytest.param(b"caf\xe9", "caf?", id="Latin-1"),
    pytest.param(b"\xff" * 255, "?" * 255, id="as long as it may be"),
    pytest.param(b"job.\xff", "job.?", id="behind a kind"),
    pytest.param(b"\xc0\xaf", "??", id="longer than need be"),
    pytest.param(b"\xed\xa0\x80\xed\xb0\x80", "??????", id="surrogates"),
    pytest.param(b"\xf4\x90\x80\x80", "????", id="beyond Unicode"),
    pytest.param(b"no exchange '\xc3", "no exchange '?", id="cut within a character"),
    pytest.param(b"\0\xff", "\0?", id="with a NUL"),
]
RIGHT = ["", "é", "\0", "leveret.under-test", "\U0010ffff", "x" * 255]
FRAMES: list[tuple[type[base.Frame], dict[str, object]]] = [
    (
        commands.Basic.Deliver,
        {"consumer_tag": "", "delivery_tag": 7, "redelivered": True, "exchange": "", "routing_key": ""},
    ),
    (commands.Basic.Return, {"reply_code": 312, "reply_text": "", "exchange": "", "routing_key": ""}),
    (
        commands.Basic.GetOk,
        {"delivery_tag": 7, "redelivered": True, "exchange": "", "routing_key": "", "message_count": 3},
    ),
    (commands.Basic.Cancel, {"consumer_tag": "", "nowait": True}),
    (commands.Channel.Close, {"reply_code": 404, "reply_text": "", "class_id": 60, "method_id": 40}),
    (commands.Connection.Close, {"reply_code": 530, "reply_text": "", "class_id": 60, "method_id": 40}),
    (commands.Connection.Blocked, {"reason": ""}),
]


@pytest.mark.parametrize(("kind", "fields"), FRAMES, ids=[kind.__name__ for kind, _ in FRAMES])
@pytest.mark.parametrize(
    ("raw", "text"), [*BAD, *(pytest.param(one.encode(), one) for one in RIGHT if len(one.encode()) < 256)]
)
def test_no_text_of_the_broker_is_a_broken_frame(
    kind: type[base.Frame], fields: dict[str, object], raw: bytes, text: str
) -> None:
    """Each text of each frame in turn; what stands beside it is read as it is."""
    for name in [name for name, value in fields.items() if value == ""]:
        marked = frame.marshal(kind(**{**fields, name: MARK}), 1)
        assert marked.count(short(MARK.encode())) == 1
        payload = marked[7:-1].replace(short(MARK.encode()), short(raw))
        size, channel, found = frame.unmarshal(marked[:3] + struct.pack(">I", len(payload)) + payload + marked[-1:])
        assert (size, channel) == (len(payload) + 8, 1)
        assert dict(found) == fields | {name: text}  # type: ignore[arg-type]


@given(st.binary(max_size=300))
def test_a_short_text_that_can_be_read_is_read_as_before(data: bytes) -> None:
    try:
        before = decode.short_str(data)
    except UnicodeDecodeError:
        size, text = decode.METHODS["shortstr"](data)
        assert (size, len(str(text).encode())) == (1 + data[0], len(data[1 : 1 + data[0]]))
    except ValueError:
        with pytest.raises(ValueError, match="short string"):
            decode.METHODS["shortstr"](data)
    else:
        assert decode.METHODS["shortstr"](data) == before


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
    if (before := by_the_library(parts)) is not None:
        assert repr(dict(properties)) == repr(before)  # as text: one NaN is not another
    names = ("headers", "timestamp", "delivery_mode", "priority", "message_id", "correlation_id", "reply_to", "app_id")
    message: Any = Message(b"{}", type=properties.message_type, **{name: getattr(properties, name) for name in names})
    wire.from_message(message, "leveret.q")
    ours = {wire.REASON: "AttemptsExhausted", wire.ERROR: "x" * 8192, wire.DEAD_LETTER: "x" * 8192}
    copy = wire.copy_of(message, ours, reply_to=message.reply_to)
    assert len(header.ContentHeader(0, 2, cast(Any, copy.properties)).marshal()) < FRAME - 8
