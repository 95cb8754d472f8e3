"""Events about JobQueues: what happens again is counted, however many JobQueues there are."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leveret_operator.jobqueue import JobQueue
from leveret_operator.kubernetes_api import ApiGone, ApiRefused
from leveret_operator.kubernetes_events import KubernetesEvents

START = datetime(2026, 1, 1, tzinfo=UTC)
REASONS = ("NotConnected", "SignalsStale", "Reconciled", "Connected", "Declared", "Fresh", "Deciding", "ScaledUp")


class Api:
    """Keeps the Events; loses what it is told to."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.fails: Exception | None = None

    async def create_event(self, event: Any) -> None:
        if self.fails is not None:
            raise self.fails
        assert event["metadata"]["name"] not in self.events
        self.events[event["metadata"]["name"]] = dict(event)

    async def update_event(self, name: str, change: Any) -> None:
        if name not in self.events:
            raise ApiRefused(404, "NotFound", "gone")
        self.events[name] |= change

    def counts(self) -> dict[tuple[str, str], list[int]]:
        """By JobQueue and reason: how often each Event has happened."""
        found = dict[tuple[str, str], list[int]]()
        for event in self.events.values():
            found.setdefault((event["involvedObject"]["name"], event["reason"]), []).append(event["count"])
        return found


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def events(api: Api) -> KubernetesEvents:
    made: Any = api
    return KubernetesEvents(made, "pod")


@pytest.mark.parametrize("number", [1, 300, 1_100])
async def test_a_cause_that_comes_again_is_counted_at_any_number(
    events: KubernetesEvents, api: Api, jobqueue: JobQueue, number: int
) -> None:
    jobqueues = [replace(jobqueue, name=f"q{one}", uid=str(one)) for one in range(number)]
    for minute in (0, 5, 29):
        for one in jobqueues:
            for reason in REASONS:
                await events.tell(one, "Normal", reason, f"at {minute}", now=START + timedelta(minutes=minute))
    assert api.counts() == {(one.name, reason): [3] for one in jobqueues for reason in REASONS}
    assert {event["message"] for event in api.events.values()} == {"at 29"}


async def test_what_happens_seldom_is_told_anew_and_nothing_old_is_kept(
    events: KubernetesEvents, api: Api, jobqueue: JobQueue
) -> None:
    for minute in (0, 20, 49, 79, 80):  # since the last one
        await events.tell(jobqueue, "Warning", "NotConnected", "m", now=START + timedelta(minutes=minute))
    assert api.counts() == {("url-check", "NotConnected"): [3, 2]}
    await events.tell(replace(jobqueue, uid="another"), "Warning", "Other", "m", now=START + timedelta(days=1))
    assert len(events._posted) == 1


async def test_an_event_that_the_api_server_forgot_or_did_not_take_is_made_again(
    events: KubernetesEvents, api: Api, jobqueue: JobQueue
) -> None:
    await events.tell(jobqueue, "Normal", "Fresh", "m", now=START)
    api.events.clear()
    await events.tell(jobqueue, "Normal", "Fresh", "m", now=START)
    api.fails = ApiGone("away")
    await events.tell(jobqueue, "Normal", "Declared", "m", now=START)
    api.fails = None
    await events.tell(jobqueue, "Normal", "Declared", "m", now=START)
    assert api.counts() == {("url-check", "Fresh"): [1], ("url-check", "Declared"): [1]}
