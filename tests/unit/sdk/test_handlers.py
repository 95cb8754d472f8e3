"""What can be a handler, what can't, and what its payload and result are."""

import logging
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticSerializationError
from typing_extensions import TypedDict

from leveret import Context, Handlers, Retry
from leveret.jobs import DeadReason
from leveret.sdk.context import JobLog
from leveret.sdk.handlers import BadHandler, BadPayload, Handler, Pool


class Model(BaseModel):
    n: int


@dataclass
class Data:
    n: int


class Typed(TypedDict):
    n: int


def only(handlers: Handlers) -> Handler:
    (handler,) = handlers.values()
    return handler


def made(function: Callable[..., Any], **options: Any) -> Handler:
    handlers = Handlers()
    handlers.job("t", **options)(function)
    return only(handlers)


async def with_model(ctx: Context, job: Model) -> Model:
    return job


async def with_dataclass(ctx: Context, job: Data) -> Data:
    return job


async def with_typed_dict(ctx: Context, job: Typed) -> Typed:
    return job


async def with_dict(ctx: Context, job: dict[str, int]) -> dict[str, int]:
    return job


async def with_nothing(ctx, job):  # type: ignore[no-untyped-def]
    return job


@pytest.mark.parametrize("function", [with_model, with_dataclass, with_typed_dict, with_dict, with_nothing])
def test_any_form_of_payload_goes_in_and_out(function: Callable[..., Any]) -> None:
    handler = made(function)
    assert handler.write(handler.read(b'{"n": 1}')) == b'{"n":1}'


@pytest.mark.parametrize("function", [with_model, with_dataclass, with_typed_dict, with_dict])
def test_a_wrong_payload_says_where(function: Callable[..., Any]) -> None:
    with pytest.raises(BadPayload, match="/n: Input should be a valid integer") as raised:
        made(function).read(b'{"n": "x"}')
    assert raised.value.reason is DeadReason.INVALID_PAYLOAD


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"nan-", b'{"n": 1}}', b'{"n": 1, "m": NaN}', b'{"n": 1, "m": [-Infinity]}']
)
@pytest.mark.parametrize("function", [with_model, with_nothing])
def test_what_is_not_json_is_told_apart(function: Callable[..., Any], body: bytes) -> None:
    with pytest.raises(BadPayload) as raised:
        made(function).read(body)
    assert raised.value.reason is DeadReason.NOT_JSON


def test_schemas_are_there_where_there_is_something_to_check() -> None:
    schema = made(with_model).schema()
    assert schema is not None
    assert schema["required"] == ["n"]
    assert made(with_nothing).schema() is None


RESULTS = [
    pytest.param(with_model, {"n": 1}, id="a dict for a model"),
    pytest.param(with_dict, {"n": "x"}, id="a wrong value"),
    pytest.param(with_nothing, object(), id="an object"),
    pytest.param(with_nothing, b"\xff", id="bytes that are no text"),
    pytest.param(with_nothing, "\ud800", id="half a character"),
]


@pytest.mark.parametrize(("function", "result"), RESULTS)
def test_a_result_that_is_not_what_was_declared_is_refused(function: Callable[..., Any], result: object) -> None:
    with pytest.raises(PydanticSerializationError):
        made(function).write(result)


def plain(ctx: Context, job: Model) -> None:
    pass


class Callable_:  # noqa: N801
    async def __call__(self, ctx: Context, job: Model) -> int:
        return job.n


POOLS = [
    pytest.param(with_model, {}, Pool.LOOP, id="async def"),
    pytest.param(plain, {}, Pool.THREAD, id="def"),
    pytest.param(plain, {"cpu": True}, Pool.PROCESS, id="cpu"),
    pytest.param(Callable_(), {}, Pool.LOOP, id="an object with an async __call__"),
]


@pytest.mark.parametrize(("function", "options", "pool"), POOLS)
def test_the_signature_tells_where_it_runs(function: Any, options: dict[str, Any], pool: Pool) -> None:
    assert made(function, **options).pool is pool


def test_timeout_and_retry_are_kept() -> None:
    handler = made(plain, timeout=1.5, retry=Retry(7, initial=2))
    assert handler.timeout == timedelta(seconds=1.5)
    assert handler.retry is not None
    assert (handler.retry.max_attempts, handler.retry.backoff.initial) == (7, timedelta(seconds=2))


def one_parameter(ctx: Context) -> None: ...


def three_parameters(ctx: Context, job: Model, more: int) -> None: ...


def by_name_only(ctx: Context, *, job: Model) -> None: ...


def turned_around(job: Model, ctx: Context) -> None: ...


def unknown_name(ctx: Context, job: "NotThere") -> None: ...  # type: ignore[name-defined] # noqa: F821


class Opaque: ...


def unreadable_payload(ctx: Context, job: Opaque) -> None: ...


def unreadable_result(ctx: Context, job: Model) -> Opaque:
    return Opaque()


async def yields(ctx: Context, job: Model) -> AsyncIterator[int]:
    yield 1


WRONG = [
    pytest.param(one_parameter, {}, r"write \(ctx, payload\)", id="one parameter"),
    pytest.param(three_parameters, {}, r"write \(ctx, payload\)", id="three parameters"),
    pytest.param(by_name_only, {}, r"write \(ctx, payload\)", id="a parameter by name only"),
    pytest.param(turned_around, {}, "takes the Context", id="turned around"),
    pytest.param(unknown_name, {}, "TYPE_CHECKING", id="an annotation that is not there"),
    pytest.param(unreadable_payload, {}, "payload of .*Opaque.* pydantic can't read", id="an opaque payload"),
    pytest.param(unreadable_result, {}, "result of .*Opaque.* pydantic can't read", id="an opaque result"),
    pytest.param(yields, {}, "must return its result", id="a generator"),
    pytest.param(with_model, {"cpu": True}, "plain def", id="async and cpu"),
    pytest.param(with_model, {"timeout": 0}, "above 0", id="no time"),
]


@pytest.mark.parametrize(("function", "options", "says"), WRONG)
def test_what_can_not_be_a_handler_is_refused_with_the_fix(function: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(BadHandler, match=says):
        made(function, **options)


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_a_type_must_fit_into_its_property(name: str) -> None:
    with pytest.raises(BadHandler, match="1 to 255 bytes"):
        Handlers().job(name)


def test_a_type_has_one_handler() -> None:
    handlers = Handlers()
    handlers.job("t")(with_model)
    with pytest.raises(BadHandler, match="with_model came first"):
        handlers.job("t")(plain)


async def test_a_handler_is_tested_by_calling_it() -> None:
    seen: list[tuple[float, float | None]] = []
    handlers = Handlers()

    @handlers.job("double")
    async def double(ctx: Context, job: Model) -> int:
        ctx.progress(1, 2)
        ctx.log.info("doubling")
        return job.n * 2 if ctx.attempt == 1 else 0

    assert await double(Context(report_progress=lambda done, total: seen.append((done, total))), Model(n=4)) == 8
    assert await double(Context(attempt=2), Model(n=4)) == 0
    assert seen == [(1, 2)]


NUMBERS = [
    pytest.param(3, 3.0, id="a whole number"),
    pytest.param(Fraction(1, 2), 0.5, id="a fraction"),
    pytest.param(Decimal("0.25"), 0.25, id="a decimal"),
    pytest.param(True, 1.0, id="a truth value"),
]


@pytest.mark.parametrize(("given", "told"), NUMBERS)
def test_progress_takes_every_finite_number_and_tells_a_float(given: Any, told: float) -> None:
    seen: list[tuple[float, float | None]] = []
    ctx = Context(report_progress=lambda done, total: seen.append((done, total)))
    ctx.progress(given)
    ctx.progress(0, given)
    assert seen == [(told, None), (0.0, told)]
    assert {type(value) for pair in seen for value in pair} == {float, type(None)}


NO_NUMBERS = [
    pytest.param(math.nan, ValueError, id="NaN"),
    pytest.param(-math.inf, ValueError, id="infinity"),
    pytest.param(Decimal("NaN"), ValueError, id="a decimal NaN"),
    pytest.param(10**400, ValueError, id="beyond any float"),
    pytest.param("half", ValueError, id="text"),
    pytest.param(None, TypeError, id="none"),
    pytest.param([], TypeError, id="a list"),
]


@pytest.mark.parametrize(("given", "raises"), NO_NUMBERS)
def test_progress_that_is_no_finite_number_is_the_handlers_error(given: Any, raises: type[Exception]) -> None:
    seen: list[object] = []
    ctx = Context(report_progress=lambda done, total: seen.append(done))
    with pytest.raises(raises):
        ctx.progress(given)
    with pytest.raises(ValueError, match="total is nan"):
        ctx.progress(1, math.nan)
    assert seen == []


class WithNaN(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")
    n: float


def test_a_result_that_would_be_no_json_is_refused() -> None:
    def handler(ctx: Context, job: object) -> WithNaN: ...  # type: ignore[empty-body]

    one = made(handler)
    assert one.write(WithNaN(n=1)) == b'{"n":1.0}'
    with pytest.raises(ValueError, match="NaN and Infinity are none"):
        one.write(WithNaN(n=math.nan))


class Careless(BaseModel):
    a: dict[str, int]

    @field_validator("a")
    @classmethod
    def has_x(cls, a: dict[str, int]) -> int:
        return a["x"]


def test_a_validator_may_raise_anything_and_the_payload_is_invalid() -> None:
    def handler(ctx: Context, job: Careless) -> None: ...

    with pytest.raises(BadPayload, match="KeyError: 'x'") as caught:
        made(handler).read(b'{"a": {}}')
    assert caught.value.reason is DeadReason.INVALID_PAYLOAD


def test_the_log_carries_the_jobs_fields_and_the_callers(caplog: pytest.LogCaptureFixture) -> None:
    log = JobLog(logging.getLogger("t"), {"job": "j", "attempt": 2})
    with caplog.at_level("INFO"):
        log.info("said", extra={"host": "h", "job": "other"})
    (record,) = caplog.records
    assert (record.job, record.attempt, record.host) == ("j", 2, "h")  # type: ignore[attr-defined]
