"""The account: what is counted as lost, stuck, doubled or run again, and which fault explains a second run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from chaos import report
from chaos.evidence import Accepted, Asked, End, Happened, Presence, Row, Run, Witnessed
from chaos.jobs import Job
from chaos.ledger import Ledger, settle
from chaos.plan import Fault, Kind, Part

NOW = 1_000.0
ECHO = Job(Part.BENCH, "echo", {"value": "x"}, result="x")
OK = Job(Part.URLS, "check-url", {"url": "http://url-check-targets/ok?a"}, status=200, path="/ok?a")
FAIL = Job(Part.BENCH, "fail", {"times": 1}, result=2, attempts=2)
DEAD = replace(OK, dead=True, status=None)
FIRST = Run(1, 1, 0, "pod-a", NOW + 1)
AGAIN = Run(1, 1, 1, "pod-b", NOW + 20)
COPY = Run(1, 1, 0, "pod-b", NOW + 20)
NOBODY = Asked({})


class Told:
    def __init__(self, seen: Witnessed) -> None:
        self._seen = seen

    def of(self, job_id: str) -> Witnessed:
        return self._seen


def account(
    job: Job = ECHO,
    *,
    row: Row | None = None,
    later: Row | None = None,
    runs: Sequence[Run] = (FIRST,),
    ends: Sequence[End] = (End(1, "succeeded", "x", NOW + 30),),
    requests: int = 1,
    begun: Mapping[int, int] = {1: 1},
    faults: Sequence[Happened] = (),
    sent: int = 1,
    beside: Sequence[Presence] = (),
) -> Ledger:
    """Close the account of one job; a good one unless something is said."""
    row = row or Row("succeeded", 1, 1, (FIRST,))
    return settle(
        [Accepted("j", job, NOW, sent)],
        {"j": row},
        {"j": later or row},
        Told(Witnessed(set(runs), list(ends))),
        Asked({job.path: requests} if job.path else {}, () if job.path else [*present(begun or {}), *beside], NOW + 90),
        faults,
        seed=5,
    )


def present(begun: Mapping[int, int]) -> list[Presence]:
    """Return so many runs of each attempt, one after the other."""
    attempts = [attempt for attempt, count in begun.items() for _ in range(count)]
    times = [(attempt, NOW + 2 * number) for number, attempt in enumerate(attempts)]
    return [Presence("j", attempt, 0, "async", "pod-a", "7-a", at, at + 1, "returned") for attempt, at in times]


def happened(kind: Kind, part: Part, pods: Sequence[str] = (), *, began: float = 10, ended: float = 15) -> Happened:
    return Happened(Fault(1, 0, kind, part), NOW + began, NOW + ended, tuple(pods))


def cut(part: Part, other: Part, pods: Sequence[str] = ()) -> Happened:
    return Happened(Fault(1, 0, Kind.CUT, part, other), NOW + 10, NOW + 15, tuple(pods))


def test_a_good_job() -> None:
    ledger = account()

    assert ledger.good
    assert ledger.line == (
        "chaos: submitted 1, finished 1, lost 0, stuck 0, doubled 0, twins 0, threads' twins 0, forgotten 0, run again 0, "
        "faults 0, seed 5"
    )


def url_end(status: int) -> End:
    return End(1, "succeeded", {"url": "u", "status": status}, NOW)


@pytest.mark.parametrize(
    ("ledger", "says"),
    [
        pytest.param(account(ends=[]), "the witness queue has no end of it", id="ended without having been seen"),
        pytest.param(
            account(ends=[End(1, "succeeded", "y")]), "its result is 'y', and must be 'x'", id="a wrong result"
        ),
        pytest.param(
            account(row=Row("dead", 1, 1), ends=[End(1, "dead")]), "is dead, and must be succeeded", id="a wrong end"
        ),
        pytest.param(account(DEAD, ends=[url_end(200)]), "is succeeded, and must be dead", id="the other wrong end"),
        pytest.param(
            account(OK, ends=[url_end(200)], requests=0), "/ok?a was asked 0 times instead of 1", id="never asked for"
        ),
        pytest.param(account(begun={}), "is succeeded, and the witness saw 0 attempts", id="never began"),
        pytest.param(
            account(FAIL, row=Row("succeeded", 1, 2), ends=[End(1, "succeeded", 2)]),
            "the witness saw 1 attempts instead of 2",
            id="an attempt was left out",
        ),
        pytest.param(
            account(row=Row("succeeded", 1, 2)),
            "the witness did not see attempt 2, the last",
            id="another attempt ended it",
        ),
        pytest.param(account(OK, ends=[url_end(404)]), "and its status must be 200", id="a wrong report"),
        pytest.param(account(OK, ends=[End(1, "succeeded", None)]), "and its status must be 200", id="no report"),
    ],
)
def test_a_job_without_its_right_end_is_lost(ledger: Ledger, says: str) -> None:
    assert [says in str(one) for one in ledger.lost] == [True]
    assert not ledger.good
    assert ledger.finished == 0


@pytest.mark.parametrize("cancel", [0.5, None], ids=["asked for", "not asked for"])
def test_a_job_may_end_as_cancelled_where_that_was_asked_for(cancel: float | None) -> None:
    ledger = account(replace(ECHO, cancel=cancel), row=Row("cancelled", 1, 0), runs=[], ends=[], begun={})

    assert (ledger.good, len(ledger.lost)) == (cancel is not None, int(cancel is None))


def test_a_job_that_the_store_does_not_know_is_lost() -> None:
    ledger = settle([Accepted("j", ECHO, NOW)], {}, {}, Told(Witnessed()), NOBODY, (), seed=1)

    assert len(ledger.lost) == 1
    assert not ledger.good


def test_a_job_that_is_not_final_is_stuck() -> None:
    ledger = account(row=Row("retrying", 1, 2))

    assert len(ledger.stuck) == 1
    assert (ledger.finished, ledger.good) == (0, False)


def test_a_job_that_was_stored_though_its_submit_broke_off_must_end_too() -> None:
    rows = {"j": Row("succeeded", 1, 1), "k": Row("queued", 1, 0), "l": Row("dead", 1, 4)}

    seen = Told(Witnessed({FIRST}, [End(1, "succeeded", "x")]))
    ledger = settle([Accepted("j", ECHO, NOW)], rows, rows, seen, Asked({}, present({1: 1})), (), seed=1)

    assert [one.job for one in ledger.stuck] == ["k"]
    assert ledger.maybe == 2


@pytest.mark.parametrize(
    "ledger",
    [
        pytest.param(account(ends=[End(1, "dead"), End(1, "succeeded", "x")]), id="two different events"),
        pytest.param(account(row=Row("dead", 1, 1), later=Row("succeeded", 1, 1)), id="the row changed"),
        pytest.param(account(later=Row("running", 1, 1)), id="the row went back"),
        pytest.param(account(row=Row("succeeded", 1, 1), ends=[End(1, "dead")]), id="the store and the event differ"),
    ],
)
def test_a_second_different_end_is_a_double(ledger: Ledger) -> None:
    assert len(ledger.doubled) == 1
    assert not ledger.good


@pytest.mark.parametrize(
    "ends",
    [
        pytest.param([End(1, "succeeded", "x"), End(1, "succeeded", "x")], id="the same end told twice"),
        pytest.param([End(1, "dead"), End(2, "succeeded", "x")], id="another generation"),
    ],
)
def test_the_same_end_again_is_none(ends: list[End]) -> None:
    row = Row("succeeded", ends[-1].generation, 1)

    assert account(row=row, ends=ends).doubled == ()


def test_the_same_run_told_by_the_store_and_by_the_witness_is_one_run() -> None:
    row = Row("succeeded", 1, 1, (replace(FIRST, started_at=FIRST.started_at + 0.0005),))

    assert account(row=row).again == ()
    assert account(row=row, runs=[replace(FIRST, delivery=3)]).again == ()


def test_each_attempt_is_a_run_of_its_own() -> None:
    runs = [FIRST, replace(FIRST, attempt=2, started_at=NOW + 3)]

    ledger = account(FAIL, row=Row("succeeded", 1, 2), runs=runs, ends=[End(1, "succeeded", 2)], begun={1: 1, 2: 1})

    assert ledger.again == ()
    assert ledger.good


EXPLAINED = [
    pytest.param(AGAIN, happened(Kind.KILL, Part.BENCH, ["pod-a"]), id="its consumer was killed"),
    pytest.param(AGAIN, happened(Kind.DELETE, Part.BENCH, ["pod-a"]), id="its pod was deleted"),
    pytest.param(AGAIN, cut(Part.BENCH, Part.BROKER, ["pod-a"]), id="its pod was cut off"),
    pytest.param(AGAIN, happened(Kind.STOP, Part.BROKER, ["rabbit"]), id="the broker stopped"),
    pytest.param(COPY, happened(Kind.KILL, Part.PRODUCER), id="a producer was killed before it marked the job"),
    pytest.param(COPY, happened(Kind.STOP, Part.DATABASE), id="the database went away before the mark"),
    pytest.param(COPY, happened(Kind.MEMORY, Part.BROKER), id="the confirm was late"),
    pytest.param(COPY, cut(Part.PRODUCER, Part.BROKER, ["producer"]), id="the confirm was lost"),
    pytest.param(COPY, cut(Part.PRODUCER, Part.DATABASE, ["producer"]), id="the mark was lost"),
    pytest.param(COPY, cut(Part.BENCH, Part.BROKER, ["pod-a"]), id="the confirm of a retry was lost"),
]
UNEXPLAINED = [
    pytest.param(AGAIN, happened(Kind.KILL, Part.BENCH, ["pod-c"]), id="another consumer was killed"),
    pytest.param(AGAIN, happened(Kind.KILL, Part.URLS, ["pod-a"]), id="a consumer of another queue was killed"),
    pytest.param(AGAIN, happened(Kind.STOP, Part.BENCH, ["pod-a"]), id="a consumer that stops finishes its jobs"),
    pytest.param(AGAIN, happened(Kind.ROLLOUT, Part.BENCH, ["pod-a"]), id="so does a rolling restart"),
    pytest.param(AGAIN, happened(Kind.SCALE, Part.BENCH, ["pod-a"]), id="so does a smaller size"),
    pytest.param(AGAIN, happened(Kind.KILL, Part.OPERATOR, ["operator"]), id="the operator has no part in it"),
    pytest.param(AGAIN, cut(Part.BENCH, Part.TARGETS, ["pod-a"]), id="its pod was cut off from others than the broker"),
    pytest.param(COPY, cut(Part.URLS, Part.BROKER, ["pod-a"]), id="the confirms of another queue were lost"),
    pytest.param(COPY, cut(Part.OPERATOR, Part.API_SERVER, ["operator"]), id="the operator was cut off"),
    pytest.param(AGAIN, happened(Kind.KILL, Part.PRODUCER), id="a producer makes no redelivery"),
    pytest.param(COPY, happened(Kind.STOP, Part.PRODUCER), id="a producer that stops marks what it published"),
    pytest.param(AGAIN, happened(Kind.KILL, Part.BENCH, ["pod-a"], began=40, ended=45), id="the fault came later"),
    pytest.param(AGAIN, happened(Kind.KILL, Part.BENCH, ["pod-a"], began=-60, ended=-55), id="it was long over"),
    pytest.param(COPY, happened(Kind.KILL, Part.DATABASE, began=-80, ended=-70), id="the database was there again"),
    pytest.param(COPY, happened(Kind.KILL, Part.BROKER, began=-80, ended=-70), id="the broker was there again"),
]


@pytest.mark.parametrize(("second", "fault"), EXPLAINED)
def test_a_second_run_beside_a_fault_that_can_cause_it(second: Run, fault: Happened) -> None:
    ledger = account(runs=[FIRST, second], faults=[fault])

    assert [one.cause for one in ledger.again] == [1]
    assert ledger.good


@pytest.mark.parametrize(("second", "fault"), UNEXPLAINED)
def test_a_second_run_that_nothing_explains(second: Run, fault: Happened) -> None:
    ledger = account(runs=[FIRST, second], faults=[fault])

    assert [one.cause for one in ledger.again] == [None]
    assert not ledger.good


@pytest.mark.parametrize("kind", [Kind.KILL, Kind.DELETE, Kind.STOP])
def test_two_copies_that_a_broker_left_when_it_went_away_may_run_long_after_it_is_back(kind: Kind) -> None:
    """It had stored what it did not confirm, so it was published again; a redelivery so late would have no cause."""
    first, fault = replace(FIRST, started_at=NOW + 40), happened(kind, Part.BROKER)

    def second(delivery: int) -> Ledger:
        runs = [first, replace(COPY, started_at=NOW + 60, delivery=delivery)]
        return account(row=Row("succeeded", 1, 1), runs=runs, faults=[fault])

    assert [one.cause for one in second(0).again] == [1]
    assert [one.cause for one in second(1).again] == [None]


def test_a_message_that_its_client_sent_twice_may_run_twice() -> None:
    ledger = account(runs=[FIRST, COPY], sent=2)

    assert [one.cause for one in ledger.again] == [0]
    assert ledger.good


def test_the_retries_of_two_copies_are_put_down_to_what_made_two() -> None:
    later = [replace(FIRST, attempt=2, started_at=NOW + 200), replace(COPY, attempt=2, started_at=NOW + 300)]

    ledger = account(
        row=Row("succeeded", 1, 2), runs=[FIRST, COPY, *later], faults=[happened(Kind.KILL, Part.DATABASE)]
    )

    assert [one.cause for one in ledger.again] == [1, 1]


ONE_END = End(1, "succeeded", "x", NOW + 30, FIRST)
KILL = happened(Kind.KILL, Part.BENCH, ["pod-a"])


@pytest.mark.parametrize(
    ("ends", "faults", "doubled"),
    [
        pytest.param([ONE_END, replace(ONE_END, run=replace(FIRST, delivery=1))], [], 0, id="told twice of one run"),
        pytest.param([ONE_END, replace(ONE_END, run=AGAIN)], [KILL], 0, id="of a second run beside a fault"),
        pytest.param([ONE_END, replace(ONE_END, run=AGAIN)], [], 1, id="of a second run beside nothing"),
        pytest.param(
            [ONE_END, replace(ONE_END, run=replace(FIRST, attempt=2, started_at=NOW + 20))],
            [KILL],
            1,
            id="of a next attempt after a success",
        ),
        pytest.param([ONE_END, replace(ONE_END, run=None)], [], 0, id="by a message that tells of no run"),
    ],
)
def test_the_same_end_of_another_run_is_a_double_unless_a_fault_explains_the_run(
    ends: list[End], faults: list[Happened], doubled: int
) -> None:
    runs = [end.run for end in ends if end.run]

    ledger = account(runs=runs, ends=ends, faults=faults, begun={1: 1, 2: 1})

    assert len(ledger.doubled) == doubled
    assert ledger.good == (not doubled)


def test_after_an_attempt_that_ran_again_the_next_one_may_end_it_too() -> None:
    """Attempt 1 fails, its copy for attempt 2 is confirmed, its consumer is killed before the ack, and it succeeds elsewhere."""
    ends = [replace(ONE_END, run=AGAIN), replace(ONE_END, run=replace(FIRST, attempt=2, started_at=NOW + 12))]

    ledger = account(runs=[FIRST, *(end.run for end in ends if end.run)], ends=ends, faults=[KILL], begun={1: 2, 2: 1})

    assert [one.cause for one in ledger.again] == [1]
    assert ledger.good


@pytest.mark.parametrize(
    ("begun", "faults", "causes"),
    [
        pytest.param({1: 2}, [KILL], [1], id="beside a kill"),
        pytest.param({1: 2}, [], [None], id="beside nothing"),
        pytest.param({1: 1}, [KILL], [], id="no more than was told"),
    ],
)
def test_a_run_that_only_the_witness_saw_is_a_second_run(
    begun: dict[int, int], faults: list[Happened], causes: list[int | None]
) -> None:
    assert [one.cause for one in account(begun=begun, faults=faults).again] == causes


def test_what_only_the_witness_knows_of_is_a_second_run_where_no_consumer_told_of_the_first_either() -> None:
    ledger = account(row=Row("succeeded", 1, 1), runs=[], begun={1: 2}, faults=[KILL])

    assert [one.cause for one in ledger.again] == [1]


@pytest.mark.parametrize(
    ("faults", "cause"),
    [
        pytest.param([happened(Kind.KILL, Part.URLS, ["pod-a"])], 1, id="beside a kill"),
        pytest.param([], None, id="beside nothing"),
    ],
)
def test_a_request_more_than_any_consumer_told_is_a_second_run(faults: list[Happened], cause: int | None) -> None:
    ledger = account(OK, ends=[replace(url_end(200), at=NOW + 30)], requests=2, faults=faults)

    assert [one.cause for one in ledger.again] == [cause]


def test_a_fault_that_did_not_take_place_fails_the_run() -> None:
    fault = replace(happened(Kind.KILL, Part.BENCH), problem="no pod was ready")

    ledger = account(faults=[fault])

    assert not ledger.good
    assert "no pod was ready" in report.account(ledger)
    assert "NOT SO: no pod was ready" in report.table(ledger, NOW, [])


TWIN = Presence("j", 1, 1, "async", "pod-b", "8-b", NOW + 0.2, NOW + 20, "returned")
SAME = replace(TWIN, process="7-a", began=NOW + 5)


@pytest.mark.parametrize(
    ("beside", "counted", "good"),
    [
        pytest.param([TWIN], "twins 1, threads' twins 0, forgotten 0", False, id="twins"),
        pytest.param([replace(TWIN, kind="cpu")], "twins 1, threads' twins 0, forgotten 0", False, id="of processes"),
        pytest.param([SAME], "twins 0, threads' twins 0, forgotten 1", False, id="forgotten"),
        pytest.param(
            [TWIN, replace(TWIN, delivery=2)], "twins 1, threads' twins 0, forgotten 0", False, id="three: one job"
        ),
        pytest.param(
            [replace(TWIN, job="of another run")], "twins 0, threads' twins 0, forgotten 0", True, id="a strange job"
        ),
    ],
)
def test_two_runs_at_the_same_time_fail_the_run_and_are_in_its_line(
    beside: list[Presence], counted: str, good: bool
) -> None:
    ledger = account(runs=[FIRST, AGAIN][: 1 + (not good)], beside=beside, faults=[KILL])

    assert f"doubled 0, {counted}, run again" in ledger.line
    assert ledger.good is good
    assert ("j (chaos-bench) ran " in report.account(ledger)) is not good


def test_threads_at_the_same_time_are_told_and_fail_nothing() -> None:
    first, second = (replace(one, kind="thread") for one in (replace(TWIN, delivery=0), replace(TWIN, began=NOW + 9)))

    ledger = account(begun={}, beside=[first, second], runs=[FIRST, AGAIN], faults=[KILL])

    assert "twins 0, threads' twins 1," in ledger.line
    assert ledger.good
    assert "ran at the same time, in threads: 1" in report.account(ledger)


def test_what_proves_a_fault_is_in_the_table() -> None:
    ledger = account(faults=[replace(happened(Kind.KILL, Part.BENCH), seen="broker gave up after 97 s")])

    assert "       broker gave up after 97 s" in report.table(ledger, NOW, [])


@pytest.mark.parametrize(
    ("seconds", "later", "cause"),
    [
        pytest.param(170, 120, 1, id="a long cut, until the broker has given the consumer up"),
        pytest.param(170, 140, None, id="not for ever"),
        pytest.param(15, 40, 1, id="a short cut, while packets are on their way"),
        pytest.param(15, 60, None, id="and not as if it had been a long one"),
    ],
)
def test_a_cut_explains_a_second_run_for_as_long_as_it_can_cause_one(
    seconds: float, later: float, cause: int | None
) -> None:
    fault = Happened(Fault(1, 0, Kind.CUT, Part.BENCH, Part.BROKER, seconds), NOW + 10, NOW + 10 + seconds, ("pod-a",))
    first = replace(FIRST, started_at=fault.ended + later)

    ledger = account(
        runs=[first, replace(AGAIN, started_at=fault.ended + later + 1)], faults=[fault], row=Row("succeeded", 1, 1)
    )

    assert [one.cause for one in ledger.again] == [cause]


def test_the_table_tells_what_each_fault_cost() -> None:
    ledger = account(runs=[FIRST, AGAIN], faults=[happened(Kind.KILL, Part.BENCH, ["pod-a"])])

    head, line = report.table(ledger, NOW, [(NOW + 9, NOW + 13.5), (NOW + 100, NOW + 150)]).splitlines()

    assert line.split() == ["1", "10", "s", "5.0", "s", "1", "4.5", "s", "kill", "chaos-bench", "(pod-a)"]
    assert head.split()[:2] == ["fault", "at"]


def test_the_account_names_the_jobs_that_are_wrong_and_no_more_than_a_page_of_them() -> None:
    accepted = [Accepted(f"j{number}", ECHO, NOW) for number in range(50)]

    said = report.account(settle(accepted, {}, {}, Told(Witnessed()), NOBODY, (), seed=1))

    assert "lost: 50" in said
    assert "j0 (chaos-bench): accepted, and the store does not know it" in said
    assert said.count("does not know it") == report.SHOWN
    assert f"and {50 - report.SHOWN} more" in said
