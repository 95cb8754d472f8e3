"""Handlers: the user's functions, by job type.

A handler's signature tells the rest: its first parameter takes the `Context`, its second the payload, as a pydantic
model or any type that pydantic can validate (a dataclass, a TypedDict, `dict`). `async def` runs on the event loop,
`def` in a thread, and `cpu=True` in a process of its own that can be killed. A function that can't be a handler is
refused where it is decorated, with a sentence that tells the fix.
"""

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from leveret.jobs import DeadReason
from leveret.retry import RetryPolicy
from leveret.sdk.commit import NO_TRANSACTION_IN_A_PROCESS, TransactionRefused
from leveret.sdk.context import Context
from leveret.sdk.relaxed import relaxed

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

P = TypeVar("P")  # the payload
R = TypeVar("R")  # the result; a coroutine's for `async def`

Function = Callable[..., object]

_LONGEST_TYPE = 255  # bytes of a short string in AMQP


_strict = msgspec.json.Decoder(msgspec.Raw).decode  # a payload travels on inside our own JSON, which has no NaN


class Pool(StrEnum):
    """Where a handler runs."""

    LOOP = "loop"
    THREAD = "thread"
    PROCESS = "process"


class BadHandler(Exception):
    """A function that can't be a handler; the message tells the fix."""


class BadPayload(Exception):
    """A payload that the handler does not take."""

    def __init__(self, reason: DeadReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Handler:
    """One job type and what runs it."""

    type: str
    function: Function
    payload: TypeAdapter[object]
    result: TypeAdapter[object]
    pool: Pool
    timeout: timedelta | None  # None: the JobQueue's
    retry: RetryPolicy | None  # None: the JobQueue's
    transaction: "Engine | AsyncEngine | None" = None  # whose database has the done-marks, where it said so

    def read(self, body: bytes) -> object:
        """Return the payload; raise BadPayload if the body is not JSON or not what the handler takes."""
        try:
            payload = self.payload.validate_json(body)
            _strict(body)
            return payload
        except msgspec.MsgspecError as problem:
            raise BadPayload(DeadReason.NOT_JSON, f"{problem}; NaN and Infinity are no JSON") from problem
        except ValidationError as problem:
            not_json = any(error["type"] == "json_invalid" for error in problem.errors(include_url=False))
            reason = DeadReason.NOT_JSON if not_json else DeadReason.INVALID_PAYLOAD
            raise BadPayload(reason, _sentence(problem)) from problem
        except (Exception, SystemExit, KeyboardInterrupt) as problem:  # a validator may raise anything, and will again
            raise BadPayload(DeadReason.INVALID_PAYLOAD, _said(problem)) from problem

    def write(self, result: object) -> bytes:
        """Return the result as JSON; raise ValueError for what can't be written so.

        Pydantic's PydanticSerializationError, a ValueError, tells that it isn't of the declared type.
        """
        written = self.result.dump_json(result, warnings="error")
        try:
            _strict(written)
        except msgspec.MsgspecError as problem:
            raise ValueError(
                f"the result is not written as JSON ({problem}): NaN and Infinity are none, so leave out "
                "ser_json_inf_nan='constants' and whatever else writes them"
            ) from problem
        return written

    def schema(self) -> dict[str, object] | None:
        """Return the JSON Schema of what the handler may take, None where that is anything or can't be told."""
        core = self.payload.core_schema
        if not isinstance(core, dict):  # pydantic was told to build it later
            self.payload.rebuild()
            core = self.payload.core_schema
        try:
            schema = relaxed(core)
            msgspec.json.encode(schema)
        except (ValueError, RecursionError):  # half of a surrogate pair in a pattern; nested too deep
            return None
        return schema


class Handlers(Mapping[str, Handler]):
    """The handlers of a module, by job type; LEVERET_HANDLERS names one such object, `module:object`."""

    def __init__(self) -> None:
        self._by_type: dict[str, Handler] = {}

    def job(
        self,
        type: str,
        *,
        timeout: float | timedelta | None = None,
        retry: RetryPolicy | None = None,
        cpu: bool = False,
        transaction: "Engine | AsyncEngine | None" = None,
    ) -> Callable[[Callable[[Context, P], R]], Callable[[Context, P], R]]:
        """Make the decorated function the handler of a job type; it stays the function that it was.

        `timeout` is of one attempt, in seconds, and at most the JobQueue's. With `transaction`, the engine that the
        handler's `ctx.transaction` takes, a consumer looks for the table of done-marks at its start. Raises BadHandler for a
        type that is taken, or a signature or an engine that can't be used.
        """
        limit = timeout if isinstance(timeout, timedelta) or timeout is None else timedelta(seconds=timeout)
        if not 0 < len(type.encode()) <= _LONGEST_TYPE:
            raise BadHandler(
                f"a job type is a name of 1 to {_LONGEST_TYPE} bytes, not {type!r}: it travels as an AMQP property"
            )
        if limit is not None and limit <= timedelta(0):
            raise BadHandler(f"the handler of {type!r} has a timeout of {timeout}: it must be above 0")

        def register(function: Callable[[Context, P], R]) -> Callable[[Context, P], R]:
            if type in self._by_type:
                raise BadHandler(f"two handlers for {type!r}: {_name(self._by_type[type].function)} came first")
            handler = _handler(type, function, cpu=cpu, timeout=limit, retry=retry)
            if transaction is not None:
                _check_engine(handler, transaction)
            self._by_type[type] = replace(handler, transaction=transaction)
            return function

        return register

    def __getitem__(self, type: str) -> Handler:
        return self._by_type[type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_type)

    def __len__(self) -> int:
        return len(self._by_type)


def _handler(
    type: str, function: Function, *, cpu: bool, timeout: timedelta | None, retry: RetryPolicy | None
) -> Handler:
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__ is a handler too
    )
    if cpu and is_async:
        raise BadHandler(f"the handler of {type!r} is async and cpu=True: CPU-bound work is a plain def")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise BadHandler(f"the handler of {type!r} yields: it must return its result")
    payload, result = _types(type, function)
    return Handler(
        type=type,
        function=function,
        payload=_adapter(type, "payload", payload),
        result=_adapter(type, "result", result),
        pool=Pool.PROCESS if cpu else Pool.LOOP if is_async else Pool.THREAD,
        timeout=timeout,
        retry=retry,
    )


def _check_engine(handler: Handler, engine: "Engine | AsyncEngine") -> None:
    from leveret.sdk.transactions import check_engine  # loads SQLAlchemy

    try:
        if handler.pool is Pool.PROCESS:
            raise TransactionRefused(NO_TRANSACTION_IN_A_PROCESS)
        check_engine(engine, on_loop=handler.pool is Pool.LOOP)
    except TransactionRefused as problem:
        raise BadHandler(f"the handler of {handler.type!r}: {problem}") from problem


def _types(type: str, function: Function) -> tuple[object, object]:
    """What the signature says of payload and result; `object` takes anything."""
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) != 2 or any(one.kind not in _POSITIONAL for one in parameters):
        raise BadHandler(f"the handler of {type!r} takes ({', '.join(map(str, parameters))}): write (ctx, payload)")
    target = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    try:
        hints = typing.get_type_hints(target, include_extras=True)
    except NameError as problem:
        raise BadHandler(
            f"the handler of {type!r} has an annotation that is not known at run time ({problem}): import it outside "
            "`if TYPE_CHECKING`, and define it at the top of the module"
        ) from problem
    first = hints.get(parameters[0].name, Context)
    if first is not Context:
        raise BadHandler(f"the first parameter of the handler of {type!r} takes the Context, not {first}")
    return hints.get(parameters[1].name, object), hints.get("return", object)


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _adapter(type: str, what: str, annotation: Any) -> TypeAdapter[object]:
    try:
        return TypeAdapter(annotation)
    except PydanticUserError as problem:
        raise BadHandler(
            f"the handler of {type!r} has a {what} of {annotation}, which pydantic can't read ({_first_line(problem)}): "
            "use a pydantic model, a dataclass, a TypedDict or plain JSON types"
        ) from problem


def _first_line(problem: Exception) -> str:
    return str(problem).partition("\n")[0]


def _name(function: Function) -> str:
    return getattr(function, "__qualname__", repr(function))


def _said(problem: BaseException) -> str:
    try:
        return f"{type(problem).__name__}: {problem}"
    except BaseException:  # noqa: BLE001 - the __str__ of a user's exception may fail in any way
        return type(problem).__name__


def _sentence(problem: ValidationError) -> str:
    errors = problem.errors(include_url=False, include_context=False, include_input=False)
    said = (
        f"/{'/'.join(map(str, error['loc']))}: {error['msg']}" if error["loc"] else error["msg"] for error in errors
    )
    return "; ".join(said)
