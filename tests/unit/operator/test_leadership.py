"""Who may write: operators that share one Lease, with a clock that the test moves."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret_operator.kubernetes_api import ApiGone, ApiRefused
from leveret_operator.leadership import Leadership, LeaseLost
from leveret_operator.lease import Candidate

START = datetime(2026, 1, 1, tzinfo=UTC)


class PlayedLeases:
    """One Lease as an API server keeps it: of two writers that read the same version, the second is refused."""

    def __init__(self) -> None:
        self.now, self.version = START, 0
        self.lease: dict[str, Any] | None = None
        self.fails: Exception | None = None
        self.answers_after = 0.0  # s, once it is written

    def clock(self) -> datetime:
        return self.now

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def read_lease(self, name: str) -> dict[str, Any] | None:
        if self.fails:
            raise self.fails
        return self.lease

    async def write_lease(self, name: str, lease: Any, *, new: bool) -> dict[str, Any]:
        there = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if there != lease["metadata"].get("resourceVersion") or new != (there is None):
            raise ApiRefused(409, "Conflict", "the object has been modified")
        self.version += 1
        self.lease = {**lease, "metadata": {**lease["metadata"], "resourceVersion": str(self.version)}}
        self.later(self.answers_after)
        return self.lease

    def operator(self, identity: str, heir_of: str | None = None) -> Leadership:
        return Leadership(Candidate(identity, heir_of), "shop", self.clock)

    @property
    def spec(self) -> dict[str, Any]:
        assert self.lease is not None
        spec: dict[str, Any] = self.lease["spec"]
        return spec


@pytest.fixture
def leases() -> PlayedLeases:
    return PlayedLeases()


async def test_the_first_one_makes_it_and_renews_it_as_client_go_does(leases: PlayedLeases) -> None:
    one = leases.operator("pod-1_a")
    assert one.may_write_for() <= 0
    assert await one.claim(leases)
    assert (one.may_write_for(), one.readiness()) == (12.0, None)
    assert leases.spec == {
        "holderIdentity": "pod-1_a",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:00.000000Z",
        "leaseTransitions": 0,
    }
    leases.later(5)
    assert await one.claim(leases)
    assert leases.spec["acquireTime"] == "2026-01-01T00:00:00.000000Z"
    assert leases.spec["renewTime"] == "2026-01-01T00:00:05.000000Z"
    assert leases.spec["leaseTransitions"] == 0


async def test_a_second_one_writes_nothing_and_names_the_holder(leases: PlayedLeases) -> None:
    one, two = leases.operator("pod-1_a"), leases.operator("pod-2_b")
    for _ in range(100):
        await one.claim(leases)
        assert not await two.claim(leases)
        assert two.may_write_for() <= 0
        leases.later(5)
    said = two.readiness()
    assert said is not None
    assert not said.ready
    assert "pod-1_a holds it" in said.says
    assert "the Lease leveret-operator of the namespace shop" in said.says


@pytest.mark.parametrize("hours", [pytest.param(5, id="ahead"), pytest.param(-5, id="behind")])
async def test_a_dead_holders_is_taken_after_15_s_whatever_its_clock_said(leases: PlayedLeases, hours: int) -> None:
    one, two = leases.operator("pod-1_a"), leases.operator("pod-2_b")
    await one.claim(leases)
    leases.spec["renewTime"] = (START + timedelta(hours=hours)).isoformat()
    waited = 0
    while not await two.claim(leases):
        leases.later(1)
        waited += 1
    assert waited == 15
    assert (leases.spec["holderIdentity"], leases.spec["leaseTransitions"]) == ("pod-2_b", 1)


async def test_a_released_one_is_taken_at_once(leases: PlayedLeases) -> None:
    one, two = leases.operator("pod-1_a"), leases.operator("pod-2_b")
    await one.claim(leases)
    await two.claim(leases)
    await two.release(leases)
    assert leases.spec["holderIdentity"] == "pod-1_a", "it was not its own to release"
    await one.release(leases)
    assert (leases.spec["holderIdentity"], one.may_write_for()) == ("", 0.0)
    assert await two.claim(leases)
    assert leases.spec["leaseTransitions"] == 1


async def test_a_holder_that_cannot_renew_stops_writing_and_goes_on_when_it_can(leases: PlayedLeases) -> None:
    one = leases.operator("pod-1_a")
    await one.claim(leases)
    waiting = asyncio.create_task(one.held())
    await waiting
    leases.fails = ApiGone("ConnectionRefusedError")
    for second in range(60):
        assert (one.may_write_for() > 0) == (second < 12)
        await one.claim(leases)
        leases.later(1)
    waiting = asyncio.create_task(one.held())
    said = one.readiness()
    assert said is not None
    assert "ConnectionRefusedError" in said.says
    leases.fails = None
    await one.claim(leases)
    async with asyncio.timeout(30):
        await waiting
    assert one.may_write_for() == 12.0
    assert leases.spec["leaseTransitions"] == 0


async def taken_from(leases: PlayedLeases) -> tuple[Leadership, Leadership]:
    """Return one that stood still for 15 s, and another that has its Lease since."""
    one, two = leases.operator("pod-1_a"), leases.operator("pod-2_b")
    await one.claim(leases)
    await two.claim(leases)
    leases.later(15)
    assert await two.claim(leases)
    return one, two


async def test_a_holder_that_stood_still_until_another_took_it_writes_nothing_and_ends(leases: PlayedLeases) -> None:
    one, _ = await taken_from(leases)
    assert one.may_write_for() <= 0, "before it has asked"
    with pytest.raises(LeaseLost, match="pod-2_b has taken"):
        await one.claim(leases)
    await one.release(leases)
    assert leases.spec["holderIdentity"] == "pod-2_b"


async def test_a_holder_ends_also_when_the_other_has_released_it_meanwhile(leases: PlayedLeases) -> None:
    one, two = await taken_from(leases)
    await two.release(leases)
    with pytest.raises(LeaseLost, match="gone by now, has taken"):
        await one.claim(leases)


@pytest.mark.parametrize(
    ("heir_of", "at_once"),
    [
        pytest.param("pod-1_", True, id="the-next-container-of-the-pod"),
        pytest.param(None, False, id="beside-it-in-the-pod"),
        pytest.param("pod-11_", False, id="another-pod"),
    ],
)
async def test_who_need_not_wait_for_a_dead_one(leases: PlayedLeases, heir_of: str | None, at_once: bool) -> None:
    await leases.operator("pod-1_a").claim(leases)
    assert await leases.operator("pod-1_b", heir_of).claim(leases) == at_once


async def test_a_lease_that_somebody_deletes_stays_its_holders(leases: PlayedLeases) -> None:
    one, two = leases.operator("pod-1_a"), leases.operator("pod-2_b")
    await one.claim(leases)
    await two.claim(leases)
    leases.lease = None
    assert not await two.claim(leases)
    assert await one.claim(leases)
    leases.lease = None
    await two.claim(leases)
    leases.later(15)
    assert await two.claim(leases)


async def test_of_two_that_find_it_free_one_has_it(leases: PlayedLeases) -> None:
    one, two = leases.operator("pod-1_a"), leases.operator("pod-2_b")
    read, at_the_same_time = leases.read_lease, asyncio.Barrier(2)

    async def both(name: str) -> Any:
        found = await read(name)
        await at_the_same_time.wait()
        return found

    leases.read_lease = both  # type: ignore[method-assign]
    async with asyncio.timeout(30):
        assert sorted(await asyncio.gather(one.claim(leases), two.claim(leases))) == [False, True]


async def test_rights_that_are_missing_are_named(leases: PlayedLeases) -> None:
    one = leases.operator("pod-1_a")
    leases.fails = ApiRefused(403, "Forbidden", 'leases "leveret-operator" is forbidden')
    assert not await one.claim(leases)
    said = one.readiness()
    assert said is not None
    assert "is forbidden; give the operator's Role `create` on leases, and `get` and `update` on this one" in said.says


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["claim", "away", "slow", "release"]), st.floats(0, 20)), max_size=60
)


@given(STEPS)
def test_never_may_two_write(steps: list[tuple[int, str, float]]) -> None:
    """Whatever the order, and however long each of them stands still between two steps."""

    async def story() -> None:
        leases = PlayedLeases()
        operators = [leases.operator(f"pod-{n}_0") for n in range(3)]
        for step, (n, does, seconds) in enumerate(steps):
            leases.fails = ApiGone("away") if does == "away" else None
            leases.answers_after = seconds if does == "slow" else 0.0
            try:
                await (operators[n].release(leases) if does == "release" else operators[n].claim(leases))
            except LeaseLost:
                operators[n] = leases.operator(f"pod-{n}_{step}")
            assert sum(one.may_write_for() > 0 for one in operators) <= 1
            leases.later(seconds)

    asyncio.run(story())
