"""A run of several stretches: the same for the same seed, each with what it needs for its fault to show something."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos import jobs, plan, stretches
from chaos.bursts import SOCKETS
from chaos.jobs import Way
from chaos.plan import Drops, Kind, Part
from chaos.stretches import Plan, Size, Stretch, planned

LONG = Size(20_000, 36)
HANG_UP, BOOT = 120.0, 10.0  # s: the broker's latest, after the last octet; a process and its handlers


def of(stretch: Stretch, seed: int = 1) -> Plan:
    return planned(seed, "r", Size(500, 6, stretch))


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        pytest.param(LONG, list(Stretch), id="a long run has all"),
        pytest.param(Size(600, 6), [Stretch.MIX], id="a small one the mix"),
        pytest.param(Size(600, 6, Stretch.ENDED), [Stretch.ENDED], id="or what is asked for"),
    ],
)
def test_what_a_run_consists_of(size: Size, wanted: list[Stretch]) -> None:
    assert list(stretches.wanted(size)) == wanted


@given(seed=st.integers(), faults=st.integers(0, 25), jobs=st.integers(1, 300), only=st.sampled_from([None, *Stretch]))
def test_the_same_seed_gives_the_same_run(seed: int, faults: int, jobs: int, only: Stretch | None) -> None:
    size = Size(jobs, faults, only)

    found = planned(seed, "r", size)

    assert found == planned(seed, "r", size)
    assert [fault.number for fault in found.faults] == list(range(1, len(found.faults) + 1))
    assert [batch.number for batch in found.batches] == list(range(len(found.batches)))
    assert all(0 <= fault.at < found.seconds for fault in found.faults)
    assert all(0 <= batch.at < found.seconds for batch in found.batches)
    assert [batch.at for batch in found.batches] == sorted(batch.at for batch in found.batches)
    assert {fault.part for fault in found.faults} & set(plan.CONSUMERS) <= set(found.parts)
    assert {batch.part for batch in found.batches} <= set(found.parts)


def test_two_seeds_give_two_runs() -> None:
    assert planned(1, "r", LONG) != planned(2, "r", LONG)


def test_the_usual_run_lasts_less_than_half_an_hour_before_the_inserts() -> None:
    assert planned(1, "r", LONG).seconds < 1_600


@given(seed=st.integers())
def test_the_long_cuts_are_given_up_on_both_sides(seed: int) -> None:
    """No cut of a consumer was: the longest ended 20 s before the broker's earliest hang-up."""
    cuts = [fault for fault in of(Stretch.LONG_CUTS, seed).faults if fault.part is Part.LONG]

    assert {fault.drops for fault in cuts} == set(Drops)
    assert {(fault.kind, fault.other) for fault in cuts} == {(Kind.CUT, Part.BROKER)}
    assert all(fault.is_given_up == (fault.drops is not Drops.MOST) for fault in cuts)
    assert all(fault.seconds >= HANG_UP + 40 for fault in cuts if fault.is_given_up)


@given(seed=st.integers())
def test_a_mix_has_no_cut_of_a_consumer_that_one_side_gives_up(seed: int) -> None:
    """Shorter than a heartbeat or longer than the broker's patience: what lies between proves nothing."""
    found = plan.faults(seed, 100, 3000)

    assert all(fault.seconds <= 15 for fault in found if fault.kind is Kind.CUT and fault.part in plan.CONSUMERS)


@given(seed=st.integers())
def test_each_long_cut_has_a_pod_of_its_own_and_one_is_left_alone(seed: int) -> None:
    pods = plan.PODS[Part.LONG]
    hit = {int(fault.pick * pods[0]) for fault in of(Stretch.LONG_CUTS, seed).faults if fault.part is Part.LONG}

    assert len(hit) == len(Drops)
    assert pods == (len(Drops) + 1,) * 2


@given(seed=st.integers())
def test_jobs_that_stay_run_from_before_the_cut_until_after_the_brokers_hang_up(seed: int) -> None:
    """Jobs of 30 s have all ended before the broker gives them away, so no twin could ever be seen."""
    found = of(Stretch.LONG_CUTS, seed)
    last = max(fault.at for fault in found.faults if fault.part is Part.LONG)
    (wave,) = [batch for batch in found.batches if batch.part is Part.LONG]

    assert wave.at + BOOT / 2 < min(fault.at for fault in found.faults if fault.part is Part.LONG)
    assert all(job.payload["seconds"] > last + 40 + HANG_UP + BOOT for job in wave.jobs)  # type: ignore[operator]
    assert all(job.payload["again"] >= 20 for job in wave.jobs)  # type: ignore[operator]
    kinds = [job.type for job in wave.jobs]
    assert {kind: kinds.count(kind) for kind in kinds} == {"stay": 30, "stay-thread": 15, "stay-process": 15}


@given(seed=st.integers())
def test_no_broker_dies_while_a_consumer_is_cut_off_for_long(seed: int) -> None:
    assert not [fault for fault in of(Stretch.LONG_CUTS, seed).faults if fault.part is Part.BROKER]


@given(seed=st.integers())
def test_more_attempts_end_than_there_are_slots_when_a_fault_comes(seed: int) -> None:
    """With fewer jobs than slots it can't be seen whether what had ended is remembered."""
    found = [
        fault for stretch in (Stretch.LONG_CUTS, Stretch.ENDED) for fault in of(stretch, seed).faults if fault.burst
    ]

    assert len(found) == 3
    assert [fault.kind for fault in found].count(Kind.CUT) == 1
    assert len([fault for fault in found if fault.kind in plan.HARD and fault.part is Part.BROKER]) == 1
    (alarm,) = [fault for fault in found if fault.kind in (Kind.MEMORY, Kind.DISK)]
    assert alarm.bulky
    assert alarm.seconds > 80
    assert all(fault.burst >= 50 * plan.SLOTS[Part.FEW] for fault in found if not fault.bulky)
    assert alarm.burst >= plan.SLOTS[Part.BULK]


@given(seed=st.integers())
def test_the_pod_is_warm_when_a_burst_comes(seed: int) -> None:
    """A prefetch of as many as there are slots holds no more ended attempts than slots."""
    found = of(Stretch.ENDED, seed)

    for fault in [fault for fault in found.faults if not fault.bulky]:
        before = [batch for batch in found.batches if fault.at - 40 <= batch.at < fault.at]
        assert sum(len(batch.jobs) for batch in before) >= 900
        assert {job.type for batch in before for job in batch.jobs} == {"noop"}
        during = [batch for batch in found.batches if fault.at <= batch.at < fault.at + fault.seconds + 20]
        assert not during


@pytest.mark.parametrize("bulky", [True, False], ids=["large results", "small ones"])
def test_a_burst_is_what_its_fault_asks_for(bulky: bool) -> None:
    fault = plan.Fault(3, 0, Kind.MEMORY, Part.BROKER, burst=700, bulky=bulky)

    batch = jobs.burst(fault)

    assert (len(batch.jobs), batch.part, batch.way) == (700, Part.BULK if bulky else Part.FEW, Way.LIST)
    characters = [job.payload.get("characters") for job in batch.jobs[:1]]
    assert characters == ([jobs.BULK] if bulky else [None])


def test_large_results_fit_into_what_is_allowed_and_fill_a_socket() -> None:
    assert jobs.BULK < 256 * 1024
    assert plan.SLOTS[Part.BULK] * jobs.BULK > SOCKETS


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        pytest.param("x" * 2000, "2000 characters, CRC 2908657a", id="a long text"),
        pytest.param("x" * 1000, "x" * 1000, id="a short one"),
        pytest.param({"a": "x" * 2000}, {"a": "x" * 2000}, id="no text"),
        pytest.param(None, None, id="none"),
    ],
)
def test_of_a_long_result_its_checksum_is_kept(result: object, kept: object) -> None:
    assert jobs.abridged(result) == kept
    assert jobs.abridged("y" + "x" * 1999) != jobs.abridged("x" * 2000)
