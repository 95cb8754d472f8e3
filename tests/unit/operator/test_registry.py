"""What the watch told, in whatever order."""

from dataclasses import replace
from datetime import UTC, datetime

from leveret_operator.jobqueue import Consumer, Decided, Deployment, JobQueue, Recorded
from leveret_operator.registry import Registry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEPLOYMENT = Deployment("url-check-consumer", "url-check", "d1", revision=5, wanted=1, there=1, fingerprint="f")


class Woken(list[str]):
    def __call__(self, name: str) -> None:
        self.append(name)


def test_only_what_is_new_wakes_the_loop(jobqueue: JobQueue) -> None:
    woken = Woken()
    registry = Registry(woken)
    registry.jobqueue_is(jobqueue, Recorded())
    registry.jobqueue_is(jobqueue, Recorded())  # only its status changed
    registry.deployment_is(DEPLOYMENT)
    registry.deployment_is(replace(DEPLOYMENT, there=2, revision=6))
    assert woken == ["url-check", "url-check"]
    registry.deployment_is_gone(DEPLOYMENT)
    registry.jobqueue_is_gone("url-check")
    assert len(woken) == 4


def test_what_another_operator_writes_meanwhile_is_gone_on_from(jobqueue: JobQueue) -> None:
    registry, newer = Registry(Woken()), Recorded(decisions=(Decided(NOW, 0, 1, "Backlog", "work"),))
    registry.jobqueue_is(jobqueue, Recorded())
    registry.jobqueue_is(jobqueue, newer)
    assert registry.recorded[jobqueue.uid] == newer


def test_an_old_event_that_comes_late_changes_nothing(jobqueue: JobQueue) -> None:
    registry = Registry(Woken())
    registry.jobqueue_is(jobqueue, Recorded())
    registry.jobqueue_is(replace(jobqueue, generation=2), Recorded())
    assert registry.jobqueues["url-check"].generation == 3
    registry.deployment_is(DEPLOYMENT)
    registry.scaled("url-check", 10, revision=8)
    registry.deployment_is(replace(DEPLOYMENT, revision=7))
    assert registry.deployments["url-check"].wanted == 10
    registry.jobqueue_is_gone("url-check", uid="of an earlier one")
    registry.deployment_is_gone(replace(DEPLOYMENT, uid="of an earlier one"))
    assert registry.jobqueues
    assert registry.deployments


def test_a_list_finds_what_the_watch_missed(jobqueue: JobQueue) -> None:
    registry = Registry(Woken())
    registry.jobqueue_is(jobqueue, Recorded())
    registry.deployment_is(DEPLOYMENT)
    registry.jobqueue_is(replace(jobqueue, name="bad", uid="b1", problem="timeout"), Recorded())
    assert registry.uids() == {jobqueue.uid, DEPLOYMENT.uid, "b1"}
    registry.drop({"of something else"})
    assert registry.jobqueues
    registry.drop({jobqueue.uid, DEPLOYMENT.uid, "b1"})
    assert not registry.jobqueues
    assert not registry.deployments


def test_one_that_is_no_longer_understood_is_as_it_was_and_says_so(jobqueue: JobQueue) -> None:
    woken = Woken()
    registry = Registry(woken)
    registry.jobqueue_is(jobqueue, Recorded())
    other = replace(jobqueue, consumer=Consumer("", "", 1), generation=4, problem="timeout", going=True)
    registry.jobqueue_is(other, Recorded())
    registry.jobqueue_is(jobqueue, Recorded())  # an old event that comes late
    assert registry.jobqueues == {
        "url-check": replace(jobqueue, generation=4, problem="timeout", going=True),
    }
    registry.jobqueue_is(replace(jobqueue, generation=5), Recorded())
    assert registry.jobqueues["url-check"].problem is None
    registry.jobqueue_is(replace(other, uid="made anew", generation=1), Recorded())
    assert registry.jobqueues["url-check"].consumer.image == "", "another one's specification is not its own"
    assert len(woken) == 4
    assert registry.queues() == {"url-check": "leveret.url-check"}


def test_a_deployment_that_only_carries_the_label_is_not_the_consumers() -> None:
    registry = Registry(Woken())
    registry.deployment_is(DEPLOYMENT)
    registry.deployment_is(replace(DEPLOYMENT, name="mine", uid="d2", revision=9, wanted=7))
    assert registry.deployments == {"url-check": DEPLOYMENT}


def test_a_deployment_that_another_object_controls_is_not_the_jobqueues(jobqueue: JobQueue) -> None:
    registry = Registry(Woken())
    for controller, its in ((None, True), (jobqueue.uid, True), ("of an earlier one", False)):
        registry.deployment_is(replace(DEPLOYMENT, controller=controller))
        assert (registry.deployment_of(jobqueue) is not None) is its
