"""The plan of a run: the same for the same seed, with the telling faults first and every kind in a long one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos import jobs, plan
from chaos.jobs import Way
from chaos.plan import Drops, Kind, Part

VICTIMS = {Part.PRODUCER, Part.OPERATOR, Part.BROKER, Part.DATABASE}
QUEUES = {Part.BENCH, Part.URLS, Part.ODD}  # of the mix


@given(seed=st.integers(), count=st.integers(0, 120), jobs=st.integers(1, 60_000))
def test_the_same_seed_gives_the_same_faults_in_order_and_in_time(seed: int, count: int, jobs: int) -> None:
    seconds = plan.length(jobs, count)

    found = plan.faults(seed, count, seconds)

    assert found == plan.faults(seed, count, seconds)
    assert [fault.number for fault in found] == list(range(1, count + 1))
    assert [fault.at for fault in found] == sorted(fault.at for fault in found)
    assert all(plan.QUIET_START <= fault.at < seconds for fault in found)
    assert all(0 <= fault.pick < 1 for fault in found)
    assert all((fault.other is not None) == (fault.kind is Kind.CUT) for fault in found)
    assert all(fault.seconds > 0 for fault in found if fault.kind in (Kind.CUT, Kind.MEMORY, Kind.DISK, Kind.CLOCK))


@given(seed=st.integers())
def test_six_faults_kill_every_part_and_cut_one_connection(seed: int) -> None:
    found = plan.faults(seed, 6, plan.length(600, 6))

    hard = {fault.part for fault in found if fault.kind in plan.HARD}
    assert hard > VICTIMS
    assert len(hard - VICTIMS) == 1
    assert hard - VICTIMS < QUEUES
    assert [fault.kind for fault in found if fault.kind not in plan.HARD] == [Kind.CUT]


@given(seed=st.integers())
def test_36_faults_have_every_kind(seed: int) -> None:
    assert {fault.kind for fault in plan.faults(seed, 36, plan.length(20_000, 36))} == set(Kind)


@given(seed=st.integers())
def test_36_faults_cut_every_pair(seed: int) -> None:
    found = plan.faults(seed, 36, plan.length(20_000, 36))

    assert {(fault.part, fault.other) for fault in found if fault.kind is Kind.CUT} == {
        (Part.PRODUCER, Part.BROKER),
        (Part.PRODUCER, Part.DATABASE),
        (Part.BENCH, Part.BROKER),
        (Part.URLS, Part.BROKER),
        (Part.ODD, Part.BROKER),
        (Part.URLS, Part.TARGETS),
        (Part.OPERATOR, Part.BROKER),
        (Part.OPERATOR, Part.API_SERVER),
    }


@given(seed=st.integers())
def test_a_witness_is_never_hit_and_cut_off_for_no_longer_than_jobs_can_wait(seed: int) -> None:
    found = plan.faults(seed, 200, 3000)

    assert not {fault.part for fault in found} & {Part.TARGETS, Part.API_SERVER}
    assert all(fault.seconds <= 15 for fault in found if fault.other is Part.TARGETS)
    assert {fault.drops for fault in found if fault.other is Part.TARGETS} <= {Drops.ALL}


def test_cuts_are_on_both_sides_on_one_and_all_but_a_trickle() -> None:
    found = [fault for fault in plan.faults(3, 200, 3000) if fault.kind is Kind.CUT]

    assert {fault.drops for fault in found} == set(Drops)
    assert {fault.drops for fault in found if fault.kind is not Kind.CUT} <= {Drops.ALL}


@given(seed=st.integers())
def test_what_this_machine_cannot_do_is_left_out(seed: int) -> None:
    found = plan.faults(seed, 100, 1500, without={Kind.CLOCK, Kind.CRASH})

    assert len(found) == 100
    assert {fault.kind for fault in found} == set(Kind) - {Kind.CLOCK, Kind.CRASH}


def test_two_seeds_give_two_plans() -> None:
    assert plan.faults(1, 36, 548) != plan.faults(2, 36, 548)


@pytest.mark.parametrize(
    ("jobs", "faults", "seconds"),
    [
        pytest.param(600, 6, 8 + 6 * 15, id="the small run"),
        pytest.param(20_000, 36, 8 + 36 * 15, id="the usual run: 37 jobs a second"),
        pytest.param(90_000, 6, 90_000 / 60, id="many jobs and few faults"),
    ],
)
def test_a_run_is_as_long_as_its_faults_or_its_jobs_need(jobs: int, faults: int, seconds: float) -> None:
    assert plan.length(jobs, faults) == seconds


@given(seed=st.integers(), count=st.integers(1, 1000))
def test_jobs_are_as_many_as_asked_for_and_the_same_for_a_seed(seed: int, count: int) -> None:
    batches = jobs.batches(seed, "r", count, 100)

    assert batches == jobs.batches(seed, "r", count, 100)
    assert sum(len(batch.jobs) for batch in batches) == count
    assert [batch.at for batch in batches] == sorted(batch.at for batch in batches)
    assert all(0 <= batch.at < 100 for batch in batches)
    assert all({job.part for job in batch.jobs} == {batch.part} for batch in batches)
    assert all(job.delay is None for batch in batches if batch.way is Way.AMQP for job in batch.jobs)


def test_every_url_has_a_path_of_its_own_and_every_kind_is_there() -> None:
    made = [job for batch in jobs.batches(3, "r", 5000, 100) for job in batch.jobs]

    paths = [job.path for job in made if job.path]
    assert len(paths) == len(set(paths))
    assert {job.part for job in made} == QUEUES
    assert {job.type for job in made} == {"noop", "echo", "sleep", "fail", "check-url"}
    assert {job.end for job in made if job.part is Part.URLS} == {"succeeded", "dead"}
    assert {job.end for job in made if job.part is Part.BENCH} == {"succeeded", "dead"}
    assert any(job.delay for job in made)


@pytest.mark.parametrize("part", sorted(QUEUES))
def test_a_job_must_be_seen_as_often_as_it_has_to_fail_and_once_more(part: Part) -> None:
    made = [job for batch in jobs.batches(4, "r", 3000, 100) for job in batch.jobs if job.part is part]

    bench = {job.attempts - job.payload["times"] for job in made if job.type == "fail" and not job.dead}  # type: ignore[operator]
    flaky = {job.attempts - int(job.path.rpartition("/")[2]) for job in made if job.path and "/flaky/" in job.path}
    assert bench | flaky == {1}
    assert all(job.attempts == jobs.BENCH_ATTEMPTS for job in made if job.type == "fail" and job.dead)
    assert all(job.attempts == 1 for job in made if job.type in ("noop", "echo", "sleep"))


def test_a_cut_from_the_targets_costs_a_job_fewer_attempts_than_it_has_to_spare() -> None:
    cut, connecting = 15.0, 5.0  # s: the longest, and how long the handler waits for a connection

    lost = cut / connecting + 1

    assert lost + 1 <= jobs.URL_ATTEMPTS - (jobs.MOST_FAILURES + 1)


URLS = [job for batch in jobs.batches(3, "r", 2000, 100) for job in batch.jobs if job.path]


@pytest.mark.parametrize("kind", ["/ok", "/slow", "/redirect", "/status/404", "/status/503", "/flaky"])
def test_a_job_that_is_sent_in_place_of_another_asks_for_the_same_under_a_path_of_its_own(kind: str) -> None:
    one = next(job for job in URLS if job.path and job.path.startswith(kind))

    other = jobs.renamed(jobs.renamed(one, "-r1"), "-r2")

    assert other.path not in {job.path for job in URLS}
    assert other.path == (one.path or "").replace(one.mark, f"{one.mark}-r1-r2")
    assert other.payload == {"url": f"{jobs.TARGETS}{other.path}"}
    assert (other.end, other.status, other.attempts) == (one.end, one.status, one.attempts)
