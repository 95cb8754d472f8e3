"""Import the user's handlers, refuse at start what could not work later, and what is told of them."""

import asyncio
import importlib
import traceback
from datetime import timedelta

import structlog

from leveret.durations import format_duration
from leveret.events import HandlerInfo, HandlersRegistered
from leveret.sdk.commit import MarksMissing
from leveret.sdk.handlers import BadHandler, Handlers
from leveret.settings import BadSetting

log = structlog.get_logger(__name__)

MARKS_FOUND_WITHIN = 5.0  # s for each engine


class BrokenModule(BadSetting):
    """The user's own module raised while it was imported; its error is the cause."""


def load_handlers(place: str, timeout: timedelta) -> Handlers:
    """Return the object that `module:object` names; raise BadSetting if there is none, or none that can be used.

    `timeout` is the JobQueue's: a handler's own may be shorter, and not longer, because grace period and the broker's
    consumer time-out follow from it.
    """
    module_name, _, object_name = place.partition(":")
    if not module_name or not object_name:
        raise BadSetting(
            f"spec.consumer.handlers (LEVERET_HANDLERS) is {place!r}: write module:object, such as shop.jobs:handlers"
        )
    found = getattr(_module(module_name), object_name, None)
    if not isinstance(found, Handlers):
        what = "is not there" if found is None else f"is a {type(found).__name__}"
        raise BadSetting(
            f"spec.consumer.handlers (LEVERET_HANDLERS) names {place}, which {what}: it must be a leveret.Handlers object"
        )
    if not found:
        raise BadSetting(f"{place} has no handlers: decorate a function with @{object_name}.job('its-type')")
    for handler in found.values():
        if handler.timeout is not None and handler.timeout > timeout:
            raise BadSetting(
                f"the handler of {handler.type!r} has a timeout of {format_duration(handler.timeout)}, above the "
                f"JobQueue's {format_duration(timeout)}: lower it or raise spec.timeout (LEVERET_TIMEOUT)"
            )
    return found


async def check_marks(handlers: Handlers) -> None:
    """Raise BadSetting where the database of a handler's `transaction=` has no table of done-marks.

    A database that does not answer is a line in the log: processes start in any order.
    """
    for handler in {id(one.transaction): one for one in handlers.values() if one.transaction is not None}.values():
        from leveret import marks  # loads SQLAlchemy

        assert handler.transaction is not None
        try:
            async with asyncio.timeout(MARKS_FOUND_WITHIN):
                await marks.check(handler.transaction)
        except MarksMissing as problem:
            raise BadSetting(f"the handler of {handler.type!r} can't have its transaction: {problem}") from problem
        except Exception as problem:  # noqa: BLE001 - whatever the driver raises
            said = "whether the table of done-marks is there is not known yet: the first transaction tells"
            log.warning(said, type=handler.type, because=f"{type(problem).__name__}: {problem}")


def registration(handlers: Handlers, version: str, *, again: bool) -> HandlersRegistered:
    types = {
        handler.type: HandlerInfo(
            schema=handler.schema(),
            max_attempts=handler.retry.max_attempts if handler.retry else None,
            timeout_seconds=handler.timeout.total_seconds() if handler.timeout else None,
        )
        for handler in handlers.values()
    }
    return HandlersRegistered(version, types, again)


def _module(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as problem:
        if problem.name is not None and (name == problem.name or name.startswith(f"{problem.name}.")):
            raise BadSetting(
                f"spec.consumer.handlers (LEVERET_HANDLERS) names the module {name}, and there is no {problem.name} on "
                "the Python path: "
                "check the name, and that the image holds it"
            ) from problem
        raise BrokenModule(f"importing {name} failed {_where(problem)}") from problem
    except BadHandler as problem:
        raise BadSetting(f"{problem} (in {name})") from problem
    except (Exception, SystemExit) as problem:
        raise BrokenModule(f"importing {name} failed {_where(problem)}") from problem


def _where(problem: BaseException) -> str:
    frames = traceback.extract_tb(problem.__traceback__)
    place = f"at {frames[-1].filename} line {frames[-1].lineno}" if frames else "before its first line"
    said = " ".join(str(problem).split()) or "no message"
    return f"{place} with {type(problem).__name__}: {said}; the consumer can't start without its handlers"
