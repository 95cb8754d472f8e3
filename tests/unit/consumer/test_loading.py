"""Finding the handlers, and the sentence where they can't be used."""

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from leveret.events import HandlerInfo
from leveret.settings import BadSetting
from leveret_consumer.loading import BrokenModule, load_handlers

GOOD = """
from leveret import Handlers
handlers = Handlers()
empty = Handlers()
number = 5

@handlers.job("a", timeout=30)
async def a(ctx, job): ...
"""
TIMEOUT = timedelta(seconds=30)


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Callable[[str, str], None]]:
    before = set(sys.modules)
    sys.path.insert(0, str(tmp_path))

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)

    yield write
    sys.path.remove(str(tmp_path))
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_named_object_is_found(module: Callable[[str, str], None]) -> None:
    module("found_jobs", GOOD)
    assert list(load_handlers("found_jobs:handlers", TIMEOUT)) == ["a"]


SCHEMAS = """
from typing import Annotated
from leveret import Handlers
from pydantic import BaseModel, Field
raises, unwritten, half = Handlers(), Handlers(), Handlers()

class Raises(BaseModel):
    @classmethod
    def __get_pydantic_json_schema__(cls, core, handler):
        raise KeyError("title")

class Unwritten(BaseModel):
    n: int = Field(json_schema_extra={"example": object()})

@raises.job("r")
async def r(ctx, job: Raises): ...

Half = Annotated[str, Field(pattern="\\ud800")]

@unwritten.job("u")
async def u(ctx, job: Unwritten): ...

@half.job("h")
async def h(ctx, job: Half): ...
"""


@pytest.mark.parametrize("name", ["raises", "unwritten", "half a character"])
def test_what_can_not_be_written_of_a_type_is_not_told(name: str, module: Callable[[str, str], None]) -> None:
    """Such a type's own JSON Schema can't be made, or not be written; what its handler takes can be told all the same."""
    module("schema_jobs", SCHEMAS)
    (handler,) = load_handlers(f"schema_jobs:{name.split()[0]}", TIMEOUT).values()
    msgspec.json.encode(HandlerInfo(handler.schema()))
    assert (handler.schema() is None) is (name == "half a character")


WRONG = [
    pytest.param("shop", "write module:object", id="no object"),
    pytest.param(":handlers", "write module:object", id="no module"),
    pytest.param("not_there.jobs:handlers", "there is no not_there on the Python path", id="no such module"),
    pytest.param("good_jobs:nothing", "good_jobs:nothing, which is not there", id="no such object"),
    pytest.param("good_jobs:number", "which is a int: it must be a leveret.Handlers", id="another object"),
    pytest.param("good_jobs:empty", r"has no handlers: decorate a function with @empty.job", id="empty"),
    pytest.param("good_jobs:handlers", "timeout of 30s, above the JobQueue's 10s: lower it or raise", id="timeout"),
    pytest.param("bad_handler:handlers", r"write \(ctx, payload\) \(in bad_handler\)", id="a bad handler"),
]


@pytest.mark.parametrize(("place", "says"), WRONG)
def test_what_can_not_be_used_is_one_sentence(place: str, says: str, module: Callable[[str, str], None]) -> None:
    module("good_jobs", GOOD)
    module("bad_handler", GOOD + "\n@handlers.job('b')\ndef b(ctx): ...\n")
    with pytest.raises(BadSetting, match=says) as raised:
        load_handlers(place, timedelta(seconds=10))
    assert not isinstance(raised.value, BrokenModule)
    assert "\n" not in str(raised.value)


BROKEN = [
    pytest.param(
        "import not_installed_here\n", "ModuleNotFoundError: No module named 'not_installed_here'", id="import"
    ),
    pytest.param("\n\n1 / 0\n", r"broken_jobs.py line 3 with ZeroDivisionError", id="error"),
    pytest.param("raise SystemExit('bye')\n", "SystemExit: bye", id="exit"),
    pytest.param("def f(:\n", "SyntaxError", id="syntax"),
]


@pytest.mark.parametrize(("text", "says"), BROKEN)
def test_the_users_own_error_is_the_cause(text: str, says: str, module: Callable[[str, str], None]) -> None:
    module("broken_jobs", text)
    with pytest.raises(BrokenModule, match=says) as raised:
        load_handlers("broken_jobs:handlers", TIMEOUT)
    assert raised.value.__cause__ is not None
    assert "\n" not in str(raised.value)
