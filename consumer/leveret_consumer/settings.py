"""What a consumer is told by its environment, read once, at start.

A wrong setting is found here or nowhere: the process ends at once with a sentence that names the variable and the fix,
instead of running jobs under a rule that nobody wrote.
"""

import math
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, TypeVar

import msgspec

from leveret.durations import format_duration, parse_duration
from leveret.retry import Backoff, Jitter, RetryPolicy
from leveret.settings import BadSetting
from leveret.telemetry.logs import log_form
from leveret.topology import BROKER_DELIVERY_LIMIT, dead_queue
from leveret_consumer.present_version import DEFAULT_LIMITS, Limits

GRACE_PERIOD_BEYOND_TIMEOUT = timedelta(seconds=30)  # of the pod
KEPT_FOR_THE_END = timedelta(seconds=10)  # of the grace period: room for the last confirms
MOST_SLOTS = 10_000
Choice = TypeVar("Choice", bound=str)


class Settings(msgspec.Struct, frozen=True):
    queue: str
    handlers: str  # module:object
    pod: str
    concurrency: int = 10  # slots: jobs that run at once
    timeout: timedelta = timedelta(seconds=30)  # of one attempt
    grace: timedelta = timedelta(seconds=50)  # how long running jobs may go on after a stop was asked for
    retry: RetryPolicy = msgspec.field(default_factory=RetryPolicy)
    source_queue: str | None = None  # another queue's dead letters, consumed beside the own queue
    delivery_limit: int = BROKER_DELIVERY_LIMIT  # times that a job is started without its run coming to an end
    version: str = ""  # of image and handlers
    # A message that another version may have a handler for; not from the environment.
    judges_after: Limits = DEFAULT_LIMITS
    log: Literal["json", "text"] = "text"
    probe_port: int = 9000
    startup_timeout: timedelta = timedelta(
        minutes=2
    )  # until the handlers are imported, here and in a process for cpu=True
    loop: Literal["uvloop", "asyncio"] = "uvloop"
    lane: Literal["own", "aio-pika"] = "own"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raise BadSetting for the first variable that is missing or wrong."""
    timeout = _duration(environment, "LEVERET_TIMEOUT", timedelta(seconds=30))
    try:
        log = log_form(environment.get("LEVERET_LOG"))
    except ValueError as problem:
        raise BadSetting(str(problem)) from problem
    queue = _needed(environment, "LEVERET_QUEUE", "the name of the queue to consume, such as leveret.url-check")
    return Settings(
        queue=queue,
        handlers=_needed(environment, "LEVERET_HANDLERS", "module:object, such as shop.jobs:handlers"),
        pod=environment.get("LEVERET_POD") or socket.gethostname(),
        concurrency=_number(environment, "LEVERET_CONCURRENCY", 10, MOST_SLOTS),
        timeout=timeout,
        grace=_grace(environment, timeout),
        retry=_retry(environment.get("LEVERET_RETRY")),
        source_queue=_source(environment, queue),
        delivery_limit=_number(environment, "LEVERET_DELIVERY_LIMIT", BROKER_DELIVERY_LIMIT, BROKER_DELIVERY_LIMIT),
        version=environment.get("LEVERET_VERSION", ""),
        log=log,
        probe_port=_number(environment, "LEVERET_PROBE_PORT", 9000, 65_535, least=0),
        startup_timeout=_duration(environment, "LEVERET_STARTUP_TIMEOUT", timedelta(minutes=2)),
        loop=_one_of(environment, "LEVERET_LOOP", "uvloop", "asyncio"),
        lane=_one_of(environment, "LEVERET_LANE", "own", "aio-pika"),
    )


def _needed(environment: Mapping[str, str], name: str, what: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise BadSetting(f"{name} is not set: it must be {what}")
    return value


def _source(environment: Mapping[str, str], queue: str) -> str | None:
    name = environment.get("LEVERET_SOURCE_QUEUE", "").strip()
    if not name:
        return None
    if not name.endswith(dead_queue("")) or name == dead_queue(queue):
        raise BadSetting(
            f"LEVERET_SOURCE_QUEUE is {name!r}: it must be the queue of another queue's dead letters, such as "
            "leveret.url-check.dead; a queue's own dead letters are put back by a redrive"
        )
    return name


def _number(environment: Mapping[str, str], name: str, default: int, most: int, *, least: int = 1) -> int:
    text = environment.get(name) or str(default)
    if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
        raise BadSetting(f"{name} is {text!r}: it must be a whole number from {least} to {most}")
    return int(text)


def _one_of(environment: Mapping[str, str], name: str, default: Choice, other: Choice) -> Choice:
    value = environment.get(name) or default
    for choice in (default, other):
        if value == choice:
            return choice
    raise BadSetting(f"{name} is {value!r}: it must be {default} or {other}")


def _duration(environment: Mapping[str, str], name: str, default: timedelta) -> timedelta:
    if not (text := environment.get(name)):
        return default
    try:
        duration = parse_duration(text)
    except (ValueError, OverflowError) as problem:
        raise BadSetting(f"{name}: {problem}") from problem
    if duration <= timedelta(0):
        raise BadSetting(f"{name} is {text!r}: it must be above 0s")
    return duration


def _grace(environment: Mapping[str, str], timeout: timedelta) -> timedelta:
    """What running jobs have after a stop was asked for; the pod's whole grace period must be longer than a job."""
    needed = timeout + GRACE_PERIOD_BEYOND_TIMEOUT
    period = _duration(environment, "LEVERET_GRACE_PERIOD", needed)
    if period < needed:
        raise BadSetting(
            f"LEVERET_GRACE_PERIOD is {format_duration(period)}, and must be at least the time-out of "
            f"{format_duration(timeout)} + {format_duration(GRACE_PERIOD_BEYOND_TIMEOUT)}, or a stop would cut off jobs that "
            f"may still end: raise the pod's terminationGracePeriodSeconds to {math.ceil(needed.total_seconds())}, or "
            f"lower spec.timeout"
        )
    longest = period - KEPT_FOR_THE_END
    grace = _duration(environment, "LEVERET_GRACE", longest)
    if grace > longest:
        raise BadSetting(
            f"LEVERET_GRACE is {format_duration(grace)}, and must be at most {format_duration(longest)}, which is "
            f"LEVERET_GRACE_PERIOD, {format_duration(period)}, without the {format_duration(KEPT_FOR_THE_END)} that the last "
            "confirms may take: lower it or leave it out, or raise LEVERET_GRACE_PERIOD and terminationGracePeriodSeconds"
        )
    return grace


class _Backoff(msgspec.Struct, forbid_unknown_fields=True):
    initial: str = "1s"
    factor: float = 2.0
    max: str = "10m"
    jitter: Jitter = Jitter.FULL


class _Retry(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    max_attempts: int = 5
    backoff: _Backoff = msgspec.field(default_factory=_Backoff)


def _retry(text: str | None) -> RetryPolicy:
    """The policy as a JobQueue's spec.retry writes it."""
    if not text:
        return RetryPolicy()
    try:
        read = msgspec.json.decode(text, type=_Retry)
        wait = read.backoff
        backoff = Backoff(parse_duration(wait.initial), wait.factor, parse_duration(wait.max), wait.jitter)
        return RetryPolicy(read.max_attempts, backoff)
    except (msgspec.MsgspecError, ValueError, OverflowError) as problem:
        raise BadSetting(
            f"LEVERET_RETRY can't be used: {problem}; write JSON such as "
            '{"maxAttempts":5,"backoff":{"initial":"1s","factor":2,"max":"10m","jitter":"full"}}'
        ) from problem
