"""Where the dead letters come from, and where from none are taken."""

from dataclasses import replace

import pytest

from leveret_operator.dead_letter_sources import NoSource, Source, source_of
from leveret_operator.jobqueue import JobQueue, QueueSpec


def having(jobqueue: JobQueue, **sources: str | None) -> dict[str, JobQueue]:
    return {
        name: replace(jobqueue, name=name, uid=name, queue_spec=QueueSpec(dead_letters_of=source))
        for name, source in sources.items()
    }


def test_none_is_asked_for(jobqueue: JobQueue) -> None:
    assert source_of(jobqueue, {}) is None


def test_the_source_is_the_queue_that_the_other_has(jobqueue: JobQueue) -> None:
    others = having(jobqueue, a="b", b=None)
    assert source_of(others["a"], others) == Source("leveret.b")
    others["b"] = replace(others["b"], queue_spec=QueueSpec("shop.mails"))
    found = source_of(others["a"], others)
    assert isinstance(found, Source)
    assert (found.queue, found.dead_queue) == ("shop.mails", "shop.mails.dead")


def test_one_that_is_not_there_or_has_no_queue_is_waited_for(jobqueue: JobQueue) -> None:
    others = having(jobqueue, a="b")
    found = source_of(others["a"], others)
    assert isinstance(found, NoSource)
    assert found.reason == "SourceMissing"
    assert "the JobQueue b " in found.message


@pytest.mark.parametrize(
    ("sources", "rings"),
    [
        pytest.param({"a": "a"}, {"a"}, id="itself"),
        pytest.param({"a": "b", "b": "a"}, {"a", "b"}, id="two"),
        pytest.param({"a": "b", "b": "c", "c": "a"}, {"a", "b", "c"}, id="three"),
        pytest.param({"a": "b", "b": "c", "c": "b"}, {"b", "c"}, id="one-beside-a-ring"),
        pytest.param({"a": "b", "b": "c", "c": None}, set(), id="a-chain"),
        pytest.param({"a": "c", "b": "c", "c": None}, set(), id="two-of-one"),
    ],
)
def test_a_ring_takes_from_nobody(jobqueue: JobQueue, sources: dict[str, str | None], rings: set[str]) -> None:
    others = having(jobqueue, **sources)
    found = {name: source_of(one, others) for name, one in others.items()}
    ringed = {name for name, one in found.items() if isinstance(one, NoSource) and one.reason == "SourceRing"}
    assert ringed == rings
    assert all(isinstance(found[name], Source) for name in sources if sources[name] and name not in rings)


def test_a_ring_is_shown(jobqueue: JobQueue) -> None:
    others = having(jobqueue, a="b", b="a")
    found = source_of(others["a"], others)
    assert isinstance(found, NoSource)
    assert "a ← b ← a" in found.message
