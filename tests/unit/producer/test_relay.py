"""Relays on one outbox, with a clock that is moved: each job is published once, whatever the broker's alarms do."""

from datetime import timedelta
from uuid import UUID

from pretended_outbox import Outbox, job, replicas, twice, until

from leveret_producer.outbox.leases import YOUNG
from leveret_producer.outbox.ledger import LONGEST_WAIT
from leveret_producer.outbox.relay import WINDOW
from leveret_producer.store.outbox import LEASE


async def test_what_waits_in_memory_when_an_alarm_begins_is_published_once_by_whoever_can() -> None:
    outbox = Outbox()
    async with replicas(outbox, 2) as (one, other):
        one.blocked(True)  # which it is yet to notice
        assert one.accept(2_000) == LEASE
        await until(lambda: len(one.connection.arrived) == WINDOW)
        outbox.now = 15
        await until(lambda: one.relay.alarm.raised)
        await until(lambda: outbox.released > 0)
        assert other.connection.arrived == []
        outbox.now += LONGEST_WAIT
        await until(lambda: len(other.connection.arrived) == 2_000 - WINDOW)  # it has heard of no alarm
        await until(lambda: outbox.renewed > 0)
        outbox.now = LEASE + 5
        assert one.accept(1) == 0.0  # the other takes it
        await until(lambda: len(other.connection.arrived) == 2_001 - WINDOW)
        one.blocked(False)
        await until(lambda: not outbox.leases)
        assert twice(one, other) == set()


async def test_what_is_accepted_while_an_alarm_begins_is_given_back_at_once() -> None:
    outbox = Outbox()
    async with replicas(outbox, 2) as (one, other):
        new = [job(UUID(int=1))]
        assert one.relay.lease_for(1) == LEASE
        until_then = outbox.insert(new, LEASE)
        one.blocked(True)
        await until(lambda: one.relay.alarm.raised)
        one.offer(new, until_then, one.relay.clock())
        await until(lambda: outbox.released > 0)
        outbox.now = LONGEST_WAIT
        await until(lambda: len(other.connection.arrived) == 1)
        one.blocked(False)
        await until(lambda: not outbox.leases)
        assert twice(one, other) == set()


async def test_a_lease_that_another_replica_has_by_now_is_left_to_it() -> None:
    outbox = Outbox()
    async with replicas(outbox, 1) as (one,):
        one.blocked(True)
        one.accept(2)
        await until(lambda: len(one.connection.arrived) == 2)
        outbox.now = LEASE + 1  # as when the database was away, and nothing could be renewed
        theirs = outbox.insert([job(UUID(int=1))], LEASE)
        one.tasks[0].cancel()  # its connection ends
        await until(lambda: outbox.released == 1)
        assert outbox.leases == {UUID(int=1): theirs, UUID(int=2): outbox.time() + timedelta(seconds=LONGEST_WAIT)}


async def test_what_waited_too_long_in_memory_is_left_to_whoever_has_it_by_now() -> None:
    """A submit that took so long that the lease ran out, of which another replica took one job."""
    outbox = Outbox()
    async with replicas(outbox, 1) as (one,):
        new = [job(UUID(int=number + 1)) for number in range(2)]
        old = outbox.insert(new, LEASE)
        outbox.now = LEASE + 1
        theirs = outbox.insert(new[:1], LEASE)
        one.offer(new, old, 0.0)
        await until(lambda: one.connection.arrived == [str(new[1].id)])  # whose lease was nobody's, and is ours again
        await until(lambda: outbox.leases == {new[0].id: theirs})
        assert not one.relay.unconfirmed()


async def test_what_can_not_be_renewed_is_given_back_instead_of_published() -> None:
    outbox = Outbox(away=True)
    async with replicas(outbox, 1) as (one,):
        one.accept(5, took=YOUNG + 1)
        await until(lambda: outbox.released > 0)
        assert one.connection.arrived == []
        assert not one.relay.unconfirmed()


async def test_a_job_whose_submit_took_long_is_published_under_a_lease_that_is_as_old() -> None:
    """The lease was counted from the end of the submit, though the database counts it from its beginning."""
    outbox = Outbox()
    async with replicas(outbox, 2) as (one, other):
        one.blocked(True)
        one.accept(5, took=YOUNG + 1)
        await until(lambda: len(one.connection.arrived) == 5)
        assert outbox.renewed == 1
        outbox.now = LEASE + 1
        await until(lambda: outbox.renewed == 2)
        one.blocked(False)
        await until(lambda: not outbox.leases)
        assert twice(one, other) == set()
