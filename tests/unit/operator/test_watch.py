"""The watch and the list beside it: what comes while a list is under way, and when the watch is not in sync."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leveret_operator.jobqueue import Json
from leveret_operator.kubernetes_api import ApiGone, ApiRefused
from leveret_operator.parsing import parse_jobqueue
from leveret_operator.registry import Registry
from leveret_operator.watch import Watch, WatchStandsStill

START = datetime(2026, 1, 1, tzinfo=UTC)


def jobqueue(name: str, revision: int = 1, *, uid: str | None = None, **spec: object) -> dict[str, Any]:
    meta = {"namespace": "leveret", "name": name, "uid": uid or f"q-{name}", "generation": revision}
    return {
        "metadata": {**meta, "resourceVersion": str(revision)},
        "spec": {"consumer": {"image": "i:1", "handlers": "a.b:c"}, **spec},
    }


def deployment(name: str, revision: int = 1, *, of: str | None = None, replicas: int = 1) -> dict[str, Any]:
    labels = {"leveret.dev/jobqueue": of or name.removesuffix("-consumer")}
    meta = {"name": name, "uid": f"d-{name}", "resourceVersion": str(revision), "labels": labels}
    return {"metadata": meta, "spec": {"replicas": replicas}, "status": {}}


def pod(name: str, revision: int = 1, *, of: str = "ReplicaSet/a-consumer-6c9f", going: bool = False) -> dict[str, Any]:
    owner = {"controller": True, "name": of.partition("/")[2], "kind": of.partition("/")[0], "uid": "r"}
    meta = {"name": name, "uid": f"p-{name}", "resourceVersion": str(revision), "ownerReferences": [owner]}
    return {"metadata": {**meta, **({"deletionTimestamp": "…"} if going else {})}, "spec": {"nodeName": "n"}}


class Api:
    """Lists what it was given; between the two requests it does what it is told."""

    def __init__(self) -> None:
        self.jobqueues: list[Json] = []
        self.deployments: list[Json] = []
        self.pods: list[Json] = []
        self.fails: ApiGone | ApiRefused | None = None
        self.answered: asyncio.Event | None = None
        self.goes_on = asyncio.Event()

    async def list_jobqueues(self) -> list[Json]:
        if self.fails is not None:
            raise self.fails
        return list(self.jobqueues)

    async def list_deployments(self) -> list[Json]:
        answer = list(self.deployments)
        if self.answered is not None:
            self.answered.set()
            await self.goes_on.wait()
        return answer

    async def list_pods(self) -> list[Json]:
        return list(self.pods)


class Watched:
    def __init__(self) -> None:
        self.now, self.api, self.registry = START, Api(), Registry(lambda name: None)
        api: Any = self.api
        self.watch = Watch(api, self.registry, namespace="leveret", pod="pod", clock=lambda: self.now)

    async def tells(self, kind: str | None, body: dict[str, Any]) -> None:
        event = {"type": kind, "object": body}
        if "consumer" in body["spec"]:
            await self.watch.jobqueue_event(event)
        elif "nodeName" in body["spec"]:
            await self.watch.pod_event(event)
        else:
            await self.watch.deployment_event(event)

    async def tells_all(self) -> None:
        for body in (*self.api.jobqueues, *self.api.deployments, *self.api.pods):
            await self.tells(None, dict(body))

    async def lists(self, second: float, *, told: bool = False) -> "Watched":
        self.now = START + timedelta(seconds=second)
        await self.watch.list_all()
        if told:
            await self.tells_all()
        return self

    async def lists_while(self, happens: Callable[[], Any]) -> None:
        """Both lists are made, then it happens, then the answer arrives."""
        self.api.answered = asyncio.Event()
        listing = asyncio.create_task(self.watch.list_all())
        await self.api.answered.wait()
        await happens()
        self.api.goes_on.set()
        await listing
        self.api.answered = None

    def ready(self, second: float) -> tuple[bool, str]:
        self.now = START + timedelta(seconds=second)
        readiness = self.watch.readiness()
        return readiness.ready, readiness.says


@pytest.fixture
def watched() -> Watched:
    return Watched()


IN_SYNC = (True, "the watch is in sync")


async def test_what_is_made_while_a_list_is_under_way_stays(watched: Watched) -> None:
    async def made() -> None:
        await watched.tells("ADDED", jobqueue("new", 5))
        await watched.tells("ADDED", deployment("new-consumer", 6))

    await watched.lists_while(made)
    assert set(watched.registry.jobqueues) == set(watched.registry.deployments) == {"new"}
    watched.api.jobqueues, watched.api.deployments = [jobqueue("new", 5)], [deployment("new-consumer", 6)]
    await watched.lists(60)
    assert watched.ready(80) == IN_SYNC  # it was not forgotten that both were told


async def test_what_is_deleted_while_a_list_is_under_way_does_not_come_back(watched: Watched) -> None:
    watched.api.jobqueues, watched.api.deployments = [jobqueue("old")], [deployment("old-consumer")]
    await watched.lists(0, told=True)

    async def deleted() -> None:
        await watched.tells("DELETED", jobqueue("old"))
        await watched.tells("DELETED", deployment("old-consumer"))

    await watched.lists_while(deleted)
    assert not watched.registry.jobqueues
    assert not watched.registry.deployments
    assert watched.ready(30) == IN_SYNC


async def test_what_is_changed_while_a_list_is_under_way_stays_changed(watched: Watched) -> None:
    watched.api.jobqueues = [jobqueue("one"), jobqueue("other", timeout="soon")]
    await watched.lists(0, told=True)

    async def changed() -> None:
        await watched.tells("MODIFIED", jobqueue("one", 2, timeout="soon"))
        await watched.tells("MODIFIED", jobqueue("other", 2))

    await watched.lists_while(changed)
    assert {name for name, one in watched.registry.jobqueues.items() if one.problem} == {"one"}
    assert set(watched.registry.jobqueues) == {"one", "other"}


async def test_a_label_that_is_taken_away_and_put_back_while_a_list_is_under_way(watched: Watched) -> None:
    watched.api.deployments = [deployment("a-consumer")]
    await watched.lists(0, told=True)

    async def relabelled() -> None:
        await watched.tells("DELETED", deployment("a-consumer", 2))
        await watched.tells("ADDED", deployment("a-consumer", 3, replicas=4))

    await watched.lists_while(relabelled)
    assert watched.registry.deployments["a"].wanted == 4
    watched.api.deployments = [deployment("a-consumer", 3, replicas=4)]
    await watched.lists(60)
    assert watched.ready(80) == IN_SYNC


async def test_a_list_finds_what_the_watch_missed(watched: Watched) -> None:
    watched.api.jobqueues = [jobqueue("a"), jobqueue("b"), jobqueue("bad", timeout="soon")]
    watched.api.deployments = [deployment("a-consumer")]
    await watched.lists(0, told=True)
    assert "'soon'" in (watched.registry.jobqueues["bad"].problem or "")
    watched.api.jobqueues, watched.api.deployments = [jobqueue("b"), jobqueue("c")], []
    await watched.lists(60)
    assert set(watched.registry.jobqueues) == {"b", "c"}
    assert not watched.registry.deployments


async def test_a_deployment_of_another_name_is_not_the_consumers(watched: Watched) -> None:
    watched.api.jobqueues = [jobqueue("a")]
    watched.api.deployments = [deployment("a-consumer", replicas=2), deployment("mine", of="a", replicas=7)]
    await watched.lists(0, told=True)
    await watched.tells("MODIFIED", deployment("mine", 9, of="a", replicas=8))
    assert watched.registry.deployments["a"].wanted == 2
    await watched.tells("DELETED", deployment("mine", 9, of="a"))
    assert watched.registry.deployments["a"].wanted == 2
    await watched.tells("MODIFIED", deployment("a-consumer", 9, of="b", replicas=3))  # a label that was changed
    assert watched.registry.deployments["a"].wanted == 3


async def test_pods_are_seen_as_deployments_are(watched: Watched) -> None:
    a = parse_jobqueue(jobqueue("a"))
    watched.api.jobqueues, watched.api.pods = [jobqueue("a")], [pod("one"), pod("mine", of="ReplicaSet/mine-6c9f")]
    await watched.lists(0, told=True)
    assert [seen.name for seen in watched.registry.pods_of(a)] == ["one"]  # anybody's pod may carry our label
    await watched.tells("ADDED", pod("two", 3))
    await watched.tells("MODIFIED", pod("one", 4, going=True))
    await watched.tells("MODIFIED", pod("one", 2))  # an old event that comes late
    assert {seen.name: seen.going for seen in watched.registry.pods_of(a)} == {"one": True, "two": False}
    await watched.tells("DELETED", pod("one", 5))
    assert [seen.name for seen in watched.registry.pods_of(a)] == ["two"]
    nobodys = {key: value for key, value in pod("two", 6)["metadata"].items() if key != "ownerReferences"}
    await watched.tells("MODIFIED", pod("two", 6) | {"metadata": nobodys})  # its ReplicaSet has let it go
    assert watched.registry.pods_of(a) == ()
    watched.api.pods = [pod("three", 7)]
    await watched.lists(60)
    assert [seen.name for seen in watched.registry.pods_of(a)] == ["three"]
    assert watched.ready(75) == (False, "the watch has not told everything that a list holds")
    await watched.tells_all()
    assert watched.ready(76) == IN_SYNC


async def test_ready_is_who_is_in_sync(watched: Watched) -> None:
    assert watched.ready(0) == (False, "the JobQueues were not listed yet")
    watched.api.jobqueues = [jobqueue("a")]
    await watched.lists(0)
    assert watched.ready(14) == IN_SYNC  # the watch has its time
    assert watched.ready(15) == (False, "the watch has not told everything that a list holds")
    await watched.tells_all()
    assert watched.ready(16) == IN_SYNC


async def test_the_deployments_watch_is_watched_too(watched: Watched) -> None:
    watched.api.jobqueues, watched.api.deployments = [jobqueue("a")], [deployment("a-consumer")]
    await watched.lists(0, told=True)
    watched.api.deployments = [deployment("a-consumer", 2)]
    await watched.lists(60)
    assert watched.ready(75) == (False, "the watch has not told everything that a list holds")
    await watched.tells("MODIFIED", deployment("a-consumer", 2))
    assert watched.ready(76) == IN_SYNC


async def test_who_can_list_nothing_for_long_is_not_in_sync(watched: Watched) -> None:
    await watched.lists(0)
    watched.api.fails = ApiGone("the API server answered 503")
    await watched.lists(62)
    assert watched.ready(75) == IN_SYNC
    says = "JobQueues and Deployments could not be listed for 7,200 s: the API server answered 503"
    assert watched.ready(7_200) == (False, says)
    watched.api.fails = None
    await watched.lists(7_201)
    assert watched.ready(7_202) == IN_SYNC


async def test_a_resource_that_is_missing_is_named(watched: Watched) -> None:
    watched.api.fails = ApiRefused(404, "NotFound", "page not found")
    await watched.lists(0)
    assert watched.ready(0) == (False, "the resource JobQueue is not there yet; install its CRD")


async def test_a_watch_that_stands_still_for_three_minutes_ends_the_process(watched: Watched) -> None:
    watched.api.jobqueues = [jobqueue("a")]
    await watched.lists(0, told=True)
    watched.api.jobqueues = [jobqueue("a", 2)]
    for second in range(60, 240, 2):
        await watched.lists(second)
    watched.now = START + timedelta(seconds=240)
    with pytest.raises(WatchStandsStill, match=r"has not told what lists hold since 00:01:00, for 3 min or longer"):
        await watched.watch.keep_listing()


async def test_the_watch_is_not_to_blame_for_an_api_server_that_is_away(watched: Watched) -> None:
    watched.api.jobqueues = [jobqueue("a")]
    await watched.lists(0)
    watched.api.fails = ApiGone("refused")
    await watched.lists(100)
    watched.api.fails = None
    await watched.lists(600)
    assert watched.ready(601) == IN_SYNC  # it gets its 15 s, and its 3 min
