"""Check payloads against the JSON Schemas that consumers registered.

Only against schemas of the version that the queue's consumers run; a type that no handler is known for passes, as a
newer image may bring it. A schema that can't be used checks nothing: the consumer has the last word. Whatever the
schema and the payload are, a payload takes at most some 10 ms, and all of a request about half a second.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import structlog
from pydantic_core import from_json

from leveret_producer.payload_check import Found, OutOfWork, Part, Work
from leveret_producer.problems import Flaw
from leveret_producer.schema_parts import Compiled, Unusable, compiled
from leveret_producer.store.queues import KnownQueue
from leveret_producer.submission import DEEPEST, Submission

log = structlog.get_logger(__name__)

MOST_FLAWS = 20
MOST_STEPS, MOST_STEPS_IN_ALL = 15_000, 1_000_000
MOST_PARTS_KEPT = 250_000
_LONGEST_POINTER = 300  # characters
_Key = tuple[str, str | None, str]  # queue, version, type


class Schemas:
    """Checks, made once for each type of each version."""

    def __init__(self) -> None:
        self._made: dict[_Key, tuple[dict[str, Any] | None, Compiled]] = {}
        self._parts = 0

    def flaws(self, queue: KnownQueue, jobs: Sequence[Submission], *, in_list: bool) -> list[Flaw]:
        """Return the first flaw of each payload that has one, the first few of them."""
        found = (flaw for flaw in self.each(queue, jobs, in_list=in_list) if flaw is not None)
        return list(islice(found, MOST_FLAWS))

    def each(self, queue: KnownQueue, jobs: Sequence[Submission], *, in_list: bool) -> Iterator[Flaw | None]:
        """Check the payloads, each when it is asked for: return its first flaw."""
        left = MOST_STEPS_IN_ALL
        for index, job in enumerate(jobs):
            work = Work(min(left, MOST_STEPS))
            pointer = f"/{index}/payload" if in_list else "/payload"
            yield _flaw(self._check(queue, job.type), bytes(job.payload), pointer, work)
            left -= min(left, MOST_STEPS) - max(work.left, 0)

    def _check(self, queue: KnownQueue, type: str) -> Part | None:
        handler = queue.handlers.get(type)
        if handler is None:
            return None
        key = (queue.name, queue.version, type)
        known = self._made.get(key)
        if known is None or not _same(known[0], handler.schema):
            made = _made(handler.schema, key)
            if self._parts > MOST_PARTS_KEPT:  # mostly of versions that are gone
                self._made, self._parts = {}, 0
            self._parts += made.size
            known = self._made[key] = (handler.schema, made)
        return known[1].part


def _same(one: object, other: object) -> bool:
    try:
        return one is other or one == other
    except RecursionError:  # too deep to be used, both
        return True


def _made(schema: dict[str, Any] | None, key: _Key) -> Compiled:
    try:
        return compiled(schema)
    except Unusable as problem:
        log.warning("a handler's schema can't be used", queue=key[0], version=key[1], type=key[2], because=str(problem))
        return Compiled(None, 1)


def _flaw(part: Part | None, payload: bytes, pointer: str, work: Work) -> Flaw | None:
    may_be_deep = payload.count(b"[") + payload.count(b"{") > DEEPEST
    if part is None and not may_be_deep:
        return None
    try:
        value = from_json(payload)
        found = part.flaw(value, work) if part is not None else None
    except (OutOfWork, RecursionError):
        return None
    except ValueError as problem:  # of numbers that pydantic doesn't read, too: the consumer will say so
        if "recursion limit" not in str(problem):
            return None
        return Flaw(pointer, f"is nested deeper than {DEEPEST} levels, the most that a consumer reads")
    return None if found is None else _told(found, pointer)


def _told(found: Found, pointer: str) -> Flaw:
    """Name the place, or the nearest one around it whose name isn't too long."""
    for step in reversed(found.steps):
        longer = pointer + "/" + str(step).replace("~", "~0").replace("/", "~1")
        if len(longer) > _LONGEST_POINTER:
            return Flaw(pointer, f"something in it {found.said}")
        pointer = longer
    return Flaw(pointer, found.said)
