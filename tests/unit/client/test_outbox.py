"""What a relay of an outbox does, as a story: which rows it sends, puts back and deletes, and how long it waits."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.client import LeveretError, NotAuthenticated, Problem, QueueFull, Refused, Unavailable, UnknownQueue
from leveret.client.errors import refused
from leveret.client.outbox.deliveries import LOOKS, POLL, SOON, Heard, Post, Relaying, Run, Wait
from leveret.client.outbox.statements import DELETE, MOST, PUT_BACK, TAKE
from leveret.jobs import uuid7


def problem(status: int, slug: str) -> Refused:
    return refused(Problem(f"https://leveret.dev/problems/{slug}", slug, status, "because"))


class World:
    """A table and an API, by which a relay's steps are carried out."""

    def __init__(self, *rows: tuple[int, str]) -> None:
        self.now = 0.0
        self.rows = {UUID(int=number): (queue, 0.0) for number, queue in rows}
        self.stored: list[UUID] = []
        self.posts: list[tuple[str, int]] = []
        self.waits: list[Wait] = []
        self.gone_for_good: dict[UUID, str] = {}
        self.refuses: Callable[[str, UUID], LeveretError | None] = lambda queue, job: None
        self.away: Exception | None = None
        self.woken = False
        self.steps = Relaying(lambda: 1.0).rounds()
        self.step = next(self.steps)

    def go_on(self, waits: int = 1) -> None:
        """Carry out what it does until it has waited so often."""
        wanted = len(self.waits) + waits
        while len(self.waits) < wanted:
            self.step = self.steps.send(self._heard(self.step))

    def _heard(self, step: Run | Post | Wait) -> Heard:
        found, error, woken = None, None, False
        match step:
            case Wait(seconds, wakeable):
                self.now += seconds
                if wakeable:
                    woken, self.woken = self.woken, False
                if seconds:
                    self.waits.append(step)
            case Post(queue, jobs):
                self.posts.append((queue, len(jobs)))
                error = next((bad for job in jobs if job.id and (bad := self.refuses(queue, job.id))), None)
                self.stored += [job.id for job in jobs if job.id] if error is None else []
            case Run(_, _) if self.away:
                error = self.away
            case Run(statement, value):
                found = self._ran(statement, json.loads(value))
        return Heard(self.now, found, error, woken)

    def _ran(self, statement: str, value: Any) -> str | None:
        if statement == TAKE:
            due = [one for one, (queue, at) in self.rows.items() if at <= self.now and queue not in value]
            queues = {queue for queue, _ in self.rows.values()}
            taken = [one for queue in queues for one in [each for each in due if self.rows[each][0] == queue][:MOST]]
            rows = [{"id": str(one), "queue": self.rows[one][0], "type": "t", "payload": "1"} for one in taken]
            self.rows |= {one: (self.rows[one][0], self.now + 10) for one in taken}
            return json.dumps(rows)
        if statement == DELETE:
            for one in value:
                del self.rows[UUID(one)]
        else:
            assert statement == PUT_BACK
            for put in value:
                one = UUID(put["id"])
                if put["refused"]:
                    del self.rows[one]
                    self.gone_for_good[one] = put["error"]
                else:
                    self.rows[one] = self.rows[one][0], self.now + put["wait"]
        return None


def many(number: int, queue: str, first: int = 0) -> list[tuple[int, str]]:
    return [(first + one, queue) for one in range(number)]


def test_what_is_there_is_sent_by_queues_and_deleted() -> None:
    world = World(*many(3, "a"), *many(2, "b", 10))
    world.go_on()
    assert (world.posts, world.rows, world.waits) == ([("a", 3), ("b", 2)], {}, [Wait(POLL, wakeable=True)])


def test_more_than_a_list_is_sent_without_a_wait() -> None:
    world = World(*many(2 * MOST + 1, "a"))
    world.go_on()
    assert (world.posts, len(world.stored), world.rows) == ([("a", MOST), ("a", MOST), ("a", 1)], 2 * MOST + 1, {})


@given(st.sets(st.integers(0, MOST - 1), max_size=8))
def test_bad_jobs_stay_with_their_reason_and_all_others_are_sent_once(bad: set[int]) -> None:
    world = World(*many(MOST, "a"))
    world.refuses = lambda queue, job: problem(422, "invalid-request") if job.int in bad else None
    world.go_on()
    assert {job.int for job in world.gone_for_good} == bad
    assert all("invalid-request" in said for said in world.gone_for_good.values())
    assert sorted(job.int for job in world.stored) == [one for one in range(MOST) if one not in bad]
    assert world.rows == {}


@pytest.mark.parametrize("error", [problem(404, "unknown-queue"), problem(429, "queue-full")], ids=["404", "429"])
def test_a_queue_that_takes_nothing_waits_by_itself_and_ever_longer(error: Refused) -> None:
    assert isinstance(error, UnknownQueue | QueueFull)
    world = World(*many(3 * MOST, "a"), *many(2, "b", 10_000))
    world.refuses = lambda queue, job: error if queue == "a" else None
    world.go_on(200)
    tries = [queue for queue, _ in world.posts]
    assert len(world.stored) == 2
    assert 4 <= tries.count("a") <= 12  # within 100 s: 1, 2, 4, 8, 16, 30, 30 s
    assert len([row for row in world.rows.values() if row[0] == "a"]) == 3 * MOST
    world.refuses = lambda queue, job: None
    world.go_on(200)
    assert world.rows == {}


@pytest.mark.parametrize("error", [Unavailable("down"), NotAuthenticated(Problem(status=401))], ids=["down", "401"])
def test_an_api_that_is_away_is_asked_once_a_round_and_seldom(error: LeveretError) -> None:
    world = World(*many(3, "a"), *many(2, "b", 10))
    world.refuses = lambda queue, job: error
    world.go_on(6)
    assert [wait.seconds for wait in world.waits] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
    assert not any(wait.wakeable for wait in world.waits)
    assert len(world.posts) <= 6
    assert len(world.rows) == 5
    world.refuses = lambda queue, job: None
    world.go_on(15)
    assert (len(world.stored), world.rows) == (5, {})


def test_a_database_that_is_away_is_waited_for() -> None:
    world = World((1, "a"))
    world.away = OSError("gone")
    world.go_on(8)
    assert [wait.seconds for wait in world.waits] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    world.away = None
    world.go_on()
    assert world.rows == {}


def test_after_a_submit_it_looks_often_for_a_second_as_it_is_not_committed_yet() -> None:
    world = World()
    world.woken = True
    world.go_on(LOOKS + 2)
    poll, soon = Wait(POLL, wakeable=True), Wait(SOON)
    assert world.waits == [poll, *[soon] * LOOKS, poll]


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))
def test_a_uuid7_has_its_time_and_what_was_drawn(milliseconds: int, random: bytes) -> None:
    made = uuid7(milliseconds, random)
    assert (made.version, made.int >> 80) == (7, milliseconds)
    kept = ~(0xF << 76) & ~(3 << 62) & ((1 << 80) - 1)
    assert made.int & kept == int.from_bytes(random) & kept


def test_a_uuid7_of_rfc_9562() -> None:
    at = datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)  # appendix A.6
    random = (0xCC3 << 64 | 0x18C4DC0C0C07398F).to_bytes(10)
    assert str(uuid7(int(at.timestamp() * 1000), random)) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
