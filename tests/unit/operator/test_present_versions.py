"""What consumers are told of their JobQueue's version: on change at once, every 5 s, and all anew on a connection."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from played import Scene

from leveret.signals import JobQueueTold
from leveret_operator.jobqueue import JobQueue
from leveret_operator.kubernetes_api import ApiRefused
from leveret_operator.present_versions import EVERY, PresentVersions

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def due(versions: PresentVersions, second: float) -> list[tuple[str, str]]:
    told = versions.due(at(second))
    assert all(one.at == at(second) for one in told)
    return [(one.queue, one.version) for one in told]


def test_a_version_is_told_at_once_every_five_seconds_and_when_it_changes() -> None:
    versions = PresentVersions()
    assert due(versions, 0) == []
    versions.present("a", "1")
    story = [due(versions, second) for second in (0, 1, 4.9, 5)]
    assert story == [[("a", "1")], [], [], [("a", "1")]]
    versions.present("a", "1")
    assert due(versions, 6) == []
    versions.present("a", "2")
    versions.present("b", "1")
    assert due(versions, 6) == [("a", "2"), ("b", "1")]
    assert versions.pause(at(8)) == timedelta(seconds=3)


def test_on_a_new_connection_everything_is_told_and_what_is_gone_no_more() -> None:
    versions = PresentVersions()
    versions.present("a", "1")
    versions.present("b", "1")
    assert len(due(versions, 0)) == 2
    versions.keep_only({"a"})
    versions.new_connection()
    assert due(versions, 1) == [("a", "1")]
    versions.keep_only(set())
    assert (due(versions, 60), versions.pause(at(60))) == ([], EVERY)


@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from("xyz"), st.sampled_from("12")), max_size=40))
def test_no_queue_goes_untold_for_longer_and_none_is_told_an_old_version(steps: list[tuple[float, str, str]]) -> None:
    versions, present, second = PresentVersions(), dict[str, str](), 0.0
    last: dict[str, tuple[float, str]] = {}
    for wait, queue, version in steps:
        second += wait
        present[queue] = version
        versions.present(queue, version)
        last |= {told: (second, of) for told, of in due(versions, second)}
        assert {told: of for told, (_, of) in last.items()} == present
        assert all(second - when < EVERY.total_seconds() for when, _ in last.values())
        assert timedelta(0) < versions.pause(at(second)) <= EVERY


async def test_a_change_is_sent_without_waiting_and_what_fails_is_raised() -> None:
    versions, sent = PresentVersions(), list[str]()

    async def send(told: JobQueueTold) -> None:
        if told.version == "bad":
            raise OSError("the channel is closed")
        sent.append(told.version)

    versions.present("a", "1")
    task = asyncio.create_task(versions.tell(send, lambda: START))
    for version in ("2", "3"):
        for _ in range(20):
            await asyncio.sleep(0)
        versions.present("a", version)
    for _ in range(20):
        await asyncio.sleep(0)
    assert sent == ["1", "2", "3"]
    versions.present("a", "bad")
    with pytest.raises(OSError, match="closed"):
        await task


async def test_the_version_that_is_applied_is_the_present_one_whatever_a_newer_spec_says(jobqueue: JobQueue) -> None:
    """While the newer one's Deployment can't be made, the old pods stay, and are the present ones."""
    scene = Scene(jobqueue)

    def present() -> list[str]:
        return [told.version for told in scene.tools.versions.due(scene.now)]

    await scene.turn(0)
    assert present() == [jobqueue.version]
    broken = replace(jobqueue.consumer, image="example/shop:1.5", template={"spec": {"containers": [{"name": {}}]}})
    scene.kept.jobqueue = replace(jobqueue, consumer=broken)
    await scene.turn(5)
    assert present() == [jobqueue.version], "its template is invalid"
    newer = replace(jobqueue, consumer=replace(jobqueue.consumer, image="example/shop:1.5"))
    scene.kept.jobqueue, scene.cluster.refuses["apply"] = newer, ApiRefused(422, "Invalid", "no")
    await scene.turn(10)
    assert present() == [jobqueue.version], "the API server refused it"
    scene.cluster.refuses.clear()
    await scene.turn(71)
    assert present() == [newer.version]


async def test_an_operator_that_starts_anew_knows_what_is_applied_by_the_deployment(jobqueue: JobQueue) -> None:
    scene = Scene(jobqueue)
    await scene.turn(0)
    newer = replace(jobqueue, consumer=replace(jobqueue.consumer, image="example/shop:1.5"))
    scene.kept.jobqueue, scene.kept.applied = newer, None
    scene.cluster.refuses["apply"] = ApiRefused(422, "Invalid", "no")
    await scene.turn(5)
    assert [told.version for told in scene.tools.versions.due(scene.now)] == [jobqueue.version]


async def test_before_anything_was_applied_the_present_version_is_the_specs(jobqueue: JobQueue) -> None:
    scene = Scene(jobqueue)
    scene.cluster.refuses["apply"] = ApiRefused(422, "Invalid", "no")
    await scene.turn(0)
    assert [told.version for told in scene.tools.versions.due(scene.now)] == [jobqueue.version]
