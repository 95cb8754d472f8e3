"""Who has which queue: the same answer in any order, and one owner for each name."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.retry import RetryPolicy
from leveret.scaling.decide import Policy
from leveret.topology import RESERVED
from leveret_operator.jobqueue import Consumer, JobQueue, QueueSpec
from leveret_operator.queue_names import NOT_ALLOWED, TAKEN, AllowedNames, read_allowed, without_queue

START = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = AllowedNames()


def jobqueue(name: str, queue: str | None = None, *, second: int = 0, uid: str | None = None) -> JobQueue:
    return JobQueue(
        namespace="leveret",
        name=name,
        uid=uid or f"uid of {name}",
        generation=1,
        consumer=Consumer("i", "a:b", 1),
        retry=RetryPolicy(),
        timeout=timedelta(seconds=30),
        policy=Policy(0, 1, 1, timedelta(0), timedelta(0)),
        queue_spec=QueueSpec(queue),
        created=START + timedelta(seconds=second),
    )


@pytest.mark.parametrize(
    ("queue", "allowed"),
    [
        pytest.param(None, "", id="the-default"),
        pytest.param("leveret.other", "", id="of-the-namespace"),
        pytest.param("leveret.a.b", "", id="of-the-namespace-with-dots"),
        pytest.param("shop.mails", "shop.mails", id="allowed-by-name"),
        pytest.param("shop.mails", "x, shop.*", id="allowed-by-its-beginning"),
        pytest.param("shop.mails", "*", id="all-are-allowed"),
        pytest.param("a" * 200, "*", id="as-long-as-it-may-be"),
    ],
)
def test_a_name_that_may_be_had(queue: str | None, allowed: str) -> None:
    assert without_queue([jobqueue("a", queue)], read_allowed(allowed)) == {}


@pytest.mark.parametrize(
    ("queue", "allowed", "says"),
    [
        pytest.param("shop.mails", "", "such as leveret.a", id="of-nobody"),
        pytest.param("shop.mails", "shop.mail, mails", "operator.queueNames", id="near-what-is-allowed"),
        pytest.param("leveret", "", "operator.queueNames", id="the-namespace-alone"),
        pytest.param("leveretx.a", "", "operator.queueNames", id="another-namespace"),
        pytest.param("leveret.events", "*", "own", id="ours"),
        pytest.param("leveret.jobs", "*", "own", id="an-exchange-of-ours"),
        *(pytest.param(name, "*", "own", id=name) for name in sorted(RESERVED)),
        pytest.param("leveret.delay.12", "*", "own", id="a-delay-level"),
        pytest.param("leveret.b.dead", "*", "own", id="dead-letters"),
        pytest.param("amq.gen", "*", "own", id="the-brokers"),
        pytest.param("leveret.a b", "*", "no name of a queue", id="a-space"),
        pytest.param("a" * 201, "*", "no name of a queue", id="too-long"),
    ],
)
def test_a_name_that_may_not_be_had(queue: str, allowed: str, says: str) -> None:
    (refused,) = without_queue([jobqueue("a", queue)], read_allowed(allowed)).values()
    assert refused.reason == NOT_ALLOWED
    assert says in refused.message


def test_the_first_claim_counts_a_default_name_among_them() -> None:
    named = jobqueue("named", "leveret.bench", second=0)
    default = jobqueue("bench", second=5)
    refused = without_queue([default, named], NOBODY)
    assert list(refused) == [default.uid]
    assert refused[default.uid].reason == TAKEN
    assert "the JobQueue named" in refused[default.uid].message
    assert without_queue([default], NOBODY) == {}


def test_a_name_that_is_not_allowed_is_no_claim() -> None:
    first = jobqueue("first", "shop.mails")
    assert list(without_queue([first, jobqueue("second", "shop.mails", second=1)], NOBODY)) == [
        "uid of first",
        "uid of second",
    ]


@st.composite
def many(draw: st.DrawFn) -> list[JobQueue]:
    """JobQueues whose names, times and queues often meet."""
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=6))
    queues = st.sampled_from([None, "leveret.a", "leveret.b", "leveret.x", "shop.y", "elsewhere.z"])
    return [
        jobqueue(name, draw(queues), second=draw(st.integers(0, 2)), uid=f"{draw(st.integers(0, 9))}-{name}")
        for name in names
    ]


@given(many(), st.randoms(use_true_random=False))
def test_each_name_has_its_first_claimant_in_any_order(jobqueues: list[JobQueue], random: Random) -> None:
    allowed = AllowedNames(("shop.*",))
    refused = without_queue(jobqueues, allowed)
    shuffled = list(jobqueues)
    random.shuffle(shuffled)
    assert without_queue(shuffled, allowed) == refused
    for queue in {one.queue for one in jobqueues}:
        claims = [one for one in jobqueues if one.queue == queue and (queue != "elsewhere.z")]
        having = [one for one in claims if one.uid not in refused]
        assert having == ([min(claims, key=lambda one: (one.created, one.uid))] if claims else [])
        losers = [refused[one.uid] for one in claims if one.uid in refused]
        assert all(one.reason == TAKEN and f"JobQueue {having[0].name}," in one.message for one in losers)
    assert all(
        one.queue_spec.name is not None
        for one in jobqueues
        if (no := refused.get(one.uid)) and no.reason == NOT_ALLOWED
    )


@given(many())
def test_what_its_owner_leaves_another_has_and_no_one_else_loses(jobqueues: list[JobQueue]) -> None:
    before = without_queue(jobqueues, NOBODY)
    for gone in [one for one in jobqueues if one.uid not in before]:
        after = without_queue([one for one in jobqueues if one is not gone], NOBODY)
        assert after.keys() <= before.keys()
        claims = [one for one in jobqueues if one is not gone and one.queue == gone.queue]
        assert len(before) - len(after) == (1 if claims else 0)


def test_names_are_read_with_commas_between_them() -> None:
    assert read_allowed(" shop.*,mails ,") == AllowedNames(("shop.*", "mails"))
    assert read_allowed("") == NOBODY
    for bad in ("a*b", "a/b", "ü", "a" * 201):
        with pytest.raises(ValueError, match="is no name of a queue"):
            read_allowed(f"fine,{bad}")


def test_a_spec_without_a_name_claims_the_default() -> None:
    assert jobqueue("a").queue == "leveret.a"
    assert replace(jobqueue("a"), queue_spec=QueueSpec("shop.mails")).queue == "shop.mails"
