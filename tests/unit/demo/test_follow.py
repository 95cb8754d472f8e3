"""Following jobs over pages, against an API that is a list in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from demo.api import DecisionNow, JobPage, ListedJob, QueueNow, Unanswered
from demo.follow import Follower
from demo.snapshot import Tally
from leveret.jobs import State

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Listed:
    """An API with pages of two jobs, newest first, that remembers what it was asked."""

    jobs: dict[str, ListedJob] = field(default_factory=dict)  # oldest first
    queue: QueueNow = field(default_factory=QueueNow)
    away: str | None = None
    asked: list[str | None] = field(default_factory=list)

    def put(self, state: State, attempt: int, *ids: str) -> None:
        self.jobs.update({id: ListedJob(id, state, attempt) for id in ids})  # noqa: A001

    def page(self, before: str | None) -> JobPage:
        self.asked.append(before)
        newest = list(self.jobs)[::-1]
        start = newest.index(before) + 1 if before else 0
        page = newest[start : start + 2]
        more = start + 2 < len(newest)
        return JobPage([self.jobs[one] for one in page], page[-1] if more else None)

    def queue_now(self) -> QueueNow:
        if self.away:
            raise Unanswered(self.away)
        return self.queue


def ticking() -> Iterator[float]:
    second = 0.0
    while True:
        yield second
        second += 1.0


def following(api: Listed, *ids: str) -> Follower:
    seconds = ticking()
    follower = Follower(api, "leveret.url-check", lambda: next(seconds), began=BEGAN)
    follower.add(list(ids), ["fast"] * len(ids))
    return follower


def test_a_story_from_queued_to_final_over_several_pages() -> None:
    api = Listed()
    api.put(State.QUEUED, 0, "a", "b", "c", "d", "e")
    follower = following(api, "a", "b", "c", "d", "e")
    assert follower.look().tally == Tally(waiting=5)
    assert api.asked == [None, "d", "b"]

    api.put(State.RUNNING, 1, "a")
    api.put(State.SUCCEEDED, 1, "b", "c")
    assert follower.look().tally == Tally(waiting=2, running=1, succeeded=2)

    api.asked.clear()
    api.put(State.RETRYING, 1, "a")
    api.put(State.SUCCEEDED, 2, "d", "e")
    now = follower.look()
    assert now.tally == Tally(retrying=1, succeeded=4, retries=2)
    assert api.asked == [None, "b"]  # the page after d was all final before, and can't change

    api.put(State.DEAD, 4, "a")
    now = follower.look()
    assert now.tally == Tally(succeeded=4, dead=1, retries=5)
    assert now.done
    assert [sample.finished for sample in now.samples] == [0, 2, 4, 5]


def test_jobs_of_others_are_passed_over() -> None:
    api = Listed()
    api.put(State.DEAD, 4, "old1", "old2", "old3")
    api.put(State.QUEUED, 0, "a")
    follower = following(api, "a")
    api.put(State.QUEUED, 0, "new1", "new2", "new3")
    assert follower.look().tally == Tally(waiting=1)
    api.put(State.SUCCEEDED, 1, "a")
    api.put(State.QUEUED, 0, "new4")
    assert follower.look().tally == Tally(succeeded=1)
    assert "old2" not in api.asked  # nothing of ours can come after our oldest


def test_an_api_that_is_away_is_told_and_nothing_is_forgotten() -> None:
    api = Listed(queue=QueueNow(backlog=3, replicas=2, desired_replicas=4))
    api.put(State.SUCCEEDED, 1, "a")
    api.put(State.RUNNING, 1, "b")
    follower = following(api, "a", "b")
    assert follower.look().trouble is None
    api.away = "http://127.0.0.1:8080 does not answer (refused)"
    now = follower.look()
    assert now.trouble == api.away
    assert now.tally == Tally(running=1, succeeded=1)
    assert [(sample.backlog, sample.replicas, sample.desired) for sample in now.samples] == [
        (3, 2, 4),
        (None, None, None),
    ]


def test_decisions_are_gathered_once_each_and_those_from_before_are_left_out() -> None:
    def decision(second: int, before: int, after: int) -> DecisionNow:
        return DecisionNow(BEGAN + timedelta(seconds=second), before, after, "Backlog", "because")

    api = Listed(queue=QueueNow(decisions=[decision(1, 0, 10), decision(-60, 1, 0)]))
    follower = following(api)
    follower.look()
    api.queue = QueueNow(decisions=[decision(30, 10, 2), decision(1, 0, 10)])
    assert [(one.before, one.after) for one in follower.look().decisions] == [(0, 10), (10, 2)]
