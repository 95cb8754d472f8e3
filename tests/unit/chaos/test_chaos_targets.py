"""What the targets are told, and what is read out of their counts."""

import pytest

from chaos.jobqueues import jobqueues
from chaos.targets import asked


@pytest.mark.parametrize("clock", [True, False], ids=["with libfaketime", "without"])
def test_every_jobqueue_with_the_bench_handlers_names_the_targets_as_their_witness(clock: bool) -> None:
    consumers = [queue["spec"]["consumer"] for queue in jobqueues(clock=clock)]  # type: ignore[index]

    told = {
        consumer["handlers"]: [
            variable["value"]
            for variable in consumer["template"]["spec"]["containers"][0]["env"]
            if variable["name"] == "BENCH_WITNESS"
        ]
        for consumer in consumers
    }
    assert told == {
        "examples.bench.handlers:handlers": ["http://url-check-targets/ok"],
        "examples.url_check.handlers:handlers": [],
    }


def test_each_run_that_tells_that_it_begins_counts_once_however_often_it_asks() -> None:
    paths = {
        "/ok?job=a&attempt=1&run=00": 1,
        "/ok?job=a&attempt=1&run=01": 3,
        "/ok?job=a&attempt=2&run=02": 1,
        "/ok?job=b&attempt=1&run=03": 1,
        "/ok?7-abc-1": 2,
        "/flaky/7-abc-2/1": 2,
        "/ok?job=c&attempt=1": 1,
    }

    found = asked(paths)

    assert found.paths == paths
    assert {job: dict(runs) for job, runs in found.begun.items()} == {"a": {1: 2, 2: 1}, "b": {1: 1}}
