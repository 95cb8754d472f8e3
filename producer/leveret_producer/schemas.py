"""Check payloads against the JSON Schemas that consumers registered.

Only against schemas of the version that the queue's consumers run; a type that no handler is known for passes, as a
newer image may bring it. A schema that can't be used checks nothing: the consumer has the last word.
"""

import re
from collections.abc import Sequence
from itertools import islice

import msgspec
import structlog
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from leveret_producer.problems import Flaw
from leveret_producer.store.queues import KnownQueue
from leveret_producer.submission import Submission

log = structlog.get_logger(__name__)

MOST_FLAWS = 20
_Key = tuple[str, str | None, str]  # queue, version, type


class Schemas:
    """Validators, made once for each type of each version."""

    def __init__(self) -> None:
        self._validators: dict[_Key, Draft202012Validator | None] = {}

    def flaws(self, queue: KnownQueue, jobs: Sequence[Submission], *, in_list: bool) -> list[Flaw]:
        """Return what is wrong with the payloads, the first few of it."""
        found: list[Flaw] = []
        for index, job in enumerate(jobs):
            validator = self._validator(queue, job.type)
            if validator is not None:
                pointer = f"/{index}/payload" if in_list else "/payload"
                found.extend(_check(validator, job, pointer, MOST_FLAWS - len(found)))
            if len(found) == MOST_FLAWS:
                break
        return found

    def _validator(self, queue: KnownQueue, type: str) -> Draft202012Validator | None:
        handler = queue.handlers.get(type)
        if handler is None or handler.schema is None:
            return None
        key = (queue.name, queue.version, type)
        if key not in self._validators:
            for old in [one for one in self._validators if one[0] == queue.name and one[1] != queue.version]:
                del self._validators[old]
            self._validators[key] = _usable(handler.schema, key)
        return self._validators[key]


def _usable(schema: dict[str, object], key: _Key) -> Draft202012Validator | None:
    try:
        Draft202012Validator.check_schema(schema)
        return Draft202012Validator(schema, registry=Registry())  # an empty one fetches nothing
    except (SchemaError, re.error) as problem:
        log.warning("a handler's schema can't be used", queue=key[0], type=key[2], because=str(problem))
        return None


def _check(validator: Draft202012Validator, job: Submission, pointer: str, most: int) -> list[Flaw]:
    try:
        errors = validator.iter_errors(msgspec.json.decode(job.payload))
        return [Flaw(pointer + _pointer(error), _sentence(error)) for error in islice(errors, most)]
    except (msgspec.DecodeError, Unresolvable, re.error, RecursionError) as problem:
        log.warning("a payload could not be checked", type=job.type, because=str(problem))
        return []


def _pointer(error: ValidationError) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in error.absolute_path)


def _sentence(error: ValidationError) -> str:
    return error.message if len(error.message) <= 300 else error.message[:300] + "…"
