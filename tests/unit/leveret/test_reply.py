"""Where a reply may go, and what it says of a job that is cancelled."""

import json
from uuid import UUID

import pytest

from leveret.jobs import State
from leveret.reply import OUTCOME, address, job_cancelled, may_reply_to, reply

NAMES = [
    pytest.param("answers", True, id="a queue"),
    pytest.param("amq.rabbitmq.reply-to.g1h2AA.x", True, id="direct reply-to: an address"),
    pytest.param("amq.rabbitmq.reply-to", False, id="direct reply-to: not an address yet"),
    pytest.param("leveret.events", False, id="ours"),
    pytest.param("a.b.dead", False, id="dead letters"),
]


@pytest.mark.parametrize(("name", "may"), NAMES)
def test_a_reply_goes_to_a_queue_of_somebody_elses(name: str, may: bool) -> None:
    assert may_reply_to(name) is may


def test_an_address_that_the_broker_has_not_made_is_none() -> None:
    assert [address(name) for name in (None, "answers", "amq.rabbitmq.reply-to")] == [None, "answers", None]


def test_a_cancelled_job_is_answered_with_a_problem_document() -> None:
    answer = reply(State.CANCELLED, "c", job_cancelled(UUID(int=1), "leveret.q"))
    assert (answer.content_type, answer.headers) == ("application/problem+json", {OUTCOME: "cancelled"})
    document = json.loads(answer.body)
    assert (document.pop("type"), document.pop("job")) == (
        "https://leveret.dev/problems/job-cancelled",
        str(UUID(int=1)),
    )
    assert (document["title"], document["queue"]) == ("The job is cancelled", "leveret.q")
