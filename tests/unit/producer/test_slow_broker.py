"""Replicas on one outbox and a broker that takes its time: each job is published once, and nobody waits for others' jobs."""

import asyncio
from collections.abc import Callable

import pytest
import virtual_time
from pretended_outbox import Outbox, Replica, replicas, twice

from leveret_producer.outbox.leases import RENEW_AFTER
from leveret_producer.outbox.relay import LATE, WINDOW
from leveret_producer.store.outbox import LEASE

SILENT = "leveret.silent"
MANY = WINDOW + 100  # so that some wait in memory


class Timed(Outbox):
    """One whose clock is the event loop's, and whose statements take a while."""

    now = property(lambda self: asyncio.get_running_loop().time(), lambda self, value: None)  # type: ignore[assignment]

    async def drained(self) -> None:
        async with asyncio.timeout(3_000):
            while self.leases:  # noqa: ASYNC110 - no time passes in this test
                await asyncio.sleep(1)


def arrived(*them: Replica) -> int:
    return sum(len(one.connection.arrived) for one in them)


# When a broker confirms what was sent to it at a time, in seconds.
SLOW_BROKERS: dict[str, Callable[[float], float]] = {
    "16 s late": lambda sent: sent + 16,
    "29 s late": lambda sent: sent + 29,
    "40 s late": lambda sent: sent + 40,
    "100 s late": lambda sent: sent + 100,
    "each minute a burst": lambda sent: sent + 60 - sent % 60,
    "later with each job": lambda sent: sent * 1.5 + 12,
}


@pytest.mark.parametrize("at_once", [True, False], ids=["all at one replica", "a few each second, at all"])
@pytest.mark.parametrize("confirms_at", SLOW_BROKERS.values(), ids=SLOW_BROKERS)
def test_no_job_is_published_twice(confirms_at: Callable[[float], float], at_once: bool) -> None:
    """Leases were renewed under an alarm only: what waited 15 s and was confirmed 16 s later was published twice.

    And after 30 s without a confirm it was published again by the same replica.
    """

    async def story() -> None:
        outbox = Timed(latency=0.02)
        async with replicas(outbox, 3) as them:
            for one in them:
                one.connection.confirms_at = confirms_at
            if at_once:
                them[0].accept(MANY)
            else:
                for number in range(30):
                    them[number % 3].accept(15)
                    await asyncio.sleep(1)
            await outbox.drained()
            assert twice(*them) == set()
            assert arrived(*them) == (MANY if at_once else 450)

    virtual_time.run(story())


@pytest.mark.parametrize("moment", [0.5, 9.9, 10.6, 25])
def test_a_loop_that_stands_for_ten_seconds_has_nothing_published_twice(moment: float) -> None:
    async def story() -> None:
        outbox = Timed(latency=0.02)
        async with replicas(outbox, 3) as them:
            for one in them:
                one.connection.confirms_at = lambda sent: sent + 35
            them[0].accept(MANY)
            await asyncio.sleep(moment)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, virtual_time.VirtualLoop)
            loop.stand(10)
            await outbox.drained()
            assert twice(*them) == set()

    virtual_time.run(story())


def test_of_a_replica_that_dies_the_others_publish_what_it_had_within_a_lease_and_nothing_else() -> None:
    async def story() -> None:
        outbox = Timed(latency=0.02)
        async with replicas(outbox, 3) as them:
            dead, slow, third = them
            for one in (dead, slow):
                one.connection.confirms_at = lambda sent: sent + 100
                one.accept(WINDOW - 100)
            await asyncio.sleep(LEASE / 2)
            for task in reversed(dead.tasks):  # its ledger first: it gives nothing back any more
                task.cancel()
            await asyncio.sleep(LEASE + 1)
            assert set(third.connection.arrived) == set(dead.connection.arrived)
            await outbox.drained()
            assert twice(*them) == set(dead.connection.arrived)
            assert len(slow.connection.arrived) == len(third.connection.arrived) == WINDOW - 100

    virtual_time.run(story())


def test_a_confirm_that_can_not_be_written_down_keeps_its_lease_until_it_is() -> None:
    async def story() -> None:
        outbox = Timed(latency=0.02)
        async with replicas(outbox, 2) as (one, other):
            outbox.marks.clear()
            one.accept(5)
            await asyncio.sleep(2 * LEASE)
            assert not one.relay.unconfirmed()
            outbox.marks.set()
            await outbox.drained()
            assert arrived(one, other) == 5

    virtual_time.run(story())


def test_a_queue_for_which_nothing_is_confirmed_holds_up_itself_only() -> None:
    """Its jobs took all places of the window, each for as long as a confirm was waited for, and then again."""

    async def story() -> None:
        outbox = Timed(latency=0.02)
        async with replicas(outbox, 1) as (one,):
            silent = one.connection.silent[SILENT] = asyncio.Event()
            one.accept(MANY + 50, SILENT)
            one.accept(10)
            await asyncio.sleep(LATE + 2)
            assert one.relay.unconfirmed() == {SILENT: WINDOW}
            assert {outbox.queues[one_id] for one_id in outbox.leases} == {SILENT}
            for _ in range(10):
                one.accept(10)
                one.accept(10, SILENT)
                await asyncio.sleep(0.5)
                assert one.relay.unconfirmed() == {SILENT: WINDOW}
            await asyncio.sleep(10 * RENEW_AFTER)
            silent.set()
            await outbox.drained()
            assert twice(one) == set()
            assert arrived(one) == MANY + 50 + 210

    virtual_time.run(story())
