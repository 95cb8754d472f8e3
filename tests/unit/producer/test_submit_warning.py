"""A type that no consumer has told is stored, and whoever submitted it is told so."""

import pytest

from leveret.events import HandlerInfo
from leveret_producer.store.queues import KnownQueue
from leveret_producer.submit import warning

NOTHING: dict[str, HandlerInfo] = {}
ECHO = {name: HandlerInfo(None) for name in ("echo", "noop")}
MANY = {f"type-{number:02}": HandlerInfo(None) for number in range(40)}

CASES = [
    pytest.param(ECHO, {"echo", "noop"}, None, id="all are told"),
    pytest.param(ECHO, {"ehco"}, "runs the type 'ehco': those told are 'echo', 'noop'.", id="misspelt"),
    pytest.param(ECHO, {"echo", "b", "a"}, "runs the type 'a', 'b': those told", id="some of a list"),
    pytest.param(NOTHING, {"echo"}, "'echo': none has told any yet.", id="no consumer was there yet"),
    pytest.param(MANY, {"x"}, "'type-09' and 30 more.", id="many are told"),
    pytest.param(ECHO, set(MANY), "'type-09' and 30 more: those told", id="many are not"),
    pytest.param(ECHO, {"x" * 255}, f"the type '{'x' * 60}': those", id="a long one"),
]


@pytest.mark.parametrize(("handlers", "types", "said"), CASES)
def test_what_is_said_of_types(handlers: dict[str, HandlerInfo], types: set[str], said: str | None) -> None:
    found = warning(KnownQueue("leveret.a", 5, handlers, "v1"), types)
    assert found is None if said is None else found is not None and said in found
    assert len(found or "") < 2_000
