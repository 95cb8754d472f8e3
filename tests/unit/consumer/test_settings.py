"""The environment as settings: what is read, and the sentence for what can't be."""

from datetime import timedelta

import pytest

from leveret.retry import Backoff, Jitter, RetryPolicy
from leveret.settings import BadSetting
from leveret_consumer.settings import read_settings

NEEDED = {"LEVERET_QUEUE": "leveret.url-check", "LEVERET_HANDLERS": "shop.jobs:handlers", "LEVERET_POD": "p"}


def test_what_the_operator_gives_is_read() -> None:
    settings = read_settings(
        NEEDED
        | {
            "LEVERET_CONCURRENCY": "50",
            "LEVERET_TIMEOUT": "2m",
            "LEVERET_RETRY": '{"maxAttempts":3,"backoff":{"initial":"250ms","factor":3,"max":"1h","jitter":"none"}}',
            "LEVERET_VERSION": "abc",
            "LEVERET_LOG": "json",
            "LEVERET_LOOP": "asyncio",
            "LEVERET_LANE": "aio-pika",
            "LEVERET_STARTUP_TIMEOUT": "5m",
        }
    )
    assert (settings.concurrency, settings.version, settings.log, settings.pod) == (50, "abc", "json", "p")
    assert (settings.timeout, settings.grace) == (timedelta(minutes=2), timedelta(minutes=2, seconds=20))
    assert (settings.startup_timeout, settings.loop, settings.lane) == (timedelta(minutes=5), "asyncio", "aio-pika")
    backoff = Backoff(timedelta(milliseconds=250), 3, timedelta(hours=1), Jitter.NONE)
    assert settings.retry == RetryPolicy(3, backoff)


def test_the_pods_grace_period_is_for_running_jobs_but_for_its_last_ten_seconds() -> None:
    settings = read_settings(NEEDED | {"LEVERET_TIMEOUT": "2m", "LEVERET_GRACE_PERIOD": "3m"})
    assert settings.grace == timedelta(minutes=2, seconds=50)


def test_less_of_it_may_be_for_running_jobs() -> None:
    assert read_settings(NEEDED | {"LEVERET_GRACE": "500ms"}).grace == timedelta(milliseconds=500)
    assert read_settings(NEEDED | {"LEVERET_GRACE": "50s"}).grace == timedelta(seconds=50)


def test_another_queues_dead_letters_and_the_delivery_limit_are_read() -> None:
    settings = read_settings(NEEDED | {"LEVERET_SOURCE_QUEUE": "leveret.other.dead", "LEVERET_DELIVERY_LIMIT": "3"})
    assert (settings.source_queue, settings.delivery_limit) == ("leveret.other.dead", 3)
    settings = read_settings(NEEDED)
    assert (settings.source_queue, settings.delivery_limit) == (None, 20)


def test_the_defaults_are_the_job_queues() -> None:
    settings = read_settings(NEEDED)
    assert (settings.concurrency, settings.timeout, settings.retry) == (10, timedelta(seconds=30), RetryPolicy())
    assert settings.probe_port == 9000
    assert (settings.startup_timeout, settings.loop, settings.lane) == (timedelta(minutes=2), "uvloop", "own")


@pytest.mark.parametrize("text", ["{}", '{"maxAttempts":5}', '{"backoff":{}}'])
def test_parts_of_a_policy_have_defaults(text: str) -> None:
    assert read_settings(NEEDED | {"LEVERET_RETRY": text}).retry == RetryPolicy()


WRONG = [
    pytest.param({"LEVERET_QUEUE": ""}, "LEVERET_QUEUE is not set", id="no queue"),
    pytest.param({"LEVERET_HANDLERS": " "}, "LEVERET_HANDLERS is not set.*module:object", id="no handlers"),
    pytest.param({"LEVERET_CONCURRENCY": "0"}, "whole number from 1 to 10000", id="no slot"),
    pytest.param({"LEVERET_CONCURRENCY": "1e3"}, "'1e3'", id="not a whole number"),
    pytest.param({"LEVERET_CONCURRENCY": "²"}, "whole number", id="a digit that is none"),
    pytest.param({"LEVERET_TIMEOUT": "30"}, "LEVERET_TIMEOUT: '30' is not a duration", id="no unit"),
    pytest.param({"LEVERET_TIMEOUT": "0s"}, "above 0s", id="no time"),
    pytest.param({"LEVERET_TIMEOUT": "9" * 30 + "h"}, "LEVERET_TIMEOUT", id="longer than there are days"),
    pytest.param({"LEVERET_GRACE": "soon"}, "LEVERET_GRACE: 'soon' is not a duration", id="grace"),
    pytest.param(
        {"LEVERET_GRACE_PERIOD": "59s"},
        "LEVERET_GRACE_PERIOD is 59s, and must be at least the time-out of 30s \\+ 30s.*"
        "terminationGracePeriodSeconds to 60, or lower spec.timeout",
        id="a grace period below the time-out",
    ),
    pytest.param(
        {"LEVERET_GRACE": "2m"},
        "LEVERET_GRACE is 2m, and must be at most 50s, which is LEVERET_GRACE_PERIOD, 1m, without the 10s",
        id="a grace that the pod doesn't have",
    ),
    pytest.param({"LEVERET_GRACE_PERIOD": "1"}, "LEVERET_GRACE_PERIOD: '1' is not a duration", id="grace period"),
    pytest.param({"LEVERET_SOURCE_QUEUE": "leveret.other"}, "LEVERET_SOURCE_QUEUE.*dead letters", id="no dead letters"),
    pytest.param({"LEVERET_SOURCE_QUEUE": "leveret.url-check.dead"}, "of another queue", id="its own dead letters"),
    pytest.param({"LEVERET_DELIVERY_LIMIT": "21"}, "LEVERET_DELIVERY_LIMIT.*from 1 to 20", id="delivery limit"),
    pytest.param({"LEVERET_LOOP": "trio"}, "LEVERET_LOOP is 'trio': it must be uvloop or asyncio", id="loop"),
    pytest.param({"LEVERET_LANE": "pika"}, "LEVERET_LANE is 'pika': it must be own or aio-pika", id="lane"),
    pytest.param({"LEVERET_STARTUP_TIMEOUT": "5"}, "LEVERET_STARTUP_TIMEOUT: '5' is not", id="startup"),
    pytest.param({"LEVERET_LOG": "xml"}, "LEVERET_LOG is 'xml'", id="log"),
    pytest.param({"LEVERET_RETRY": "{"}, "LEVERET_RETRY can't be used.*write JSON such as", id="not JSON"),
    pytest.param({"LEVERET_RETRY": "[]"}, "LEVERET_RETRY can't be used", id="not an object"),
    pytest.param({"LEVERET_RETRY": '{"max":1}'}, "unknown field `max`", id="an unknown field"),
    pytest.param({"LEVERET_RETRY": '{"maxAttempts":0}'}, "1 to 32,767", id="no attempt"),
    pytest.param({"LEVERET_RETRY": '{"backoff":{"initial":"1h","max":"1s"}}'}, "initial ≤ max", id="contradiction"),
    pytest.param({"LEVERET_RETRY": '{"backoff":{"jitter":"some"}}'}, "jitter", id="jitter"),
]


@pytest.mark.parametrize(("changed", "says"), WRONG)
def test_what_can_not_be_used_is_one_sentence(changed: dict[str, str], says: str) -> None:
    with pytest.raises(BadSetting, match=says) as raised:
        read_settings(NEEDED | changed)
    assert "\n" not in str(raised.value)
