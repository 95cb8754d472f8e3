"""Every field of every event at every extreme: what is bad is set aside or bounded, and nothing else is touched.

The same table goes through a real broker and database in `tests/integration/producer/test_extremes.py`.
"""

import json
from collections import defaultdict
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from extremes import KINDS, Case, cases, ordinary
from prometheus_client import generate_latest

from leveret import events, topology
from leveret.events import JobEvent
from leveret.jobs import State
from leveret_producer.metrics import Metrics
from leveret_producer.recorder import merge, tally
from leveret_producer.recorder.batch import Batch, read
from leveret_producer.recorder.merge import Report
from leveret_producer.recorder.told import ordered
from leveret_producer.store.recording import Recorded

NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
FITS = range(-(1 << 63), 1 << 63)

_by_field: dict[str, list[Case]] = defaultdict(list)
for _case in cases():
    _by_field[f"{_case.kind}: {_case.field}"].append(_case)


class Message:
    """As much of one as is read."""

    exchange = topology.EVENTS

    def __init__(self, routing_key: str, body: bytes) -> None:
        self.routing_key, self.body = routing_key, body


def batch_of(key: str, body: bytes) -> Batch:
    batch = Batch()
    read(Message(key, body), batch, NOON)  # type: ignore[arg-type]
    return batch


JOB_FIELDS = [field for field in _by_field if field.startswith("job:")]


@pytest.mark.parametrize("field", [field for field in _by_field if field not in JOB_FIELDS])
def test_what_is_told_at_its_extremes_is_read_or_set_aside(field: str) -> None:
    for case in _by_field[field]:
        batch = batch_of(f"{case.kind}.leveret.q", case.body)
        assert all(aside.body == case.body and aside.because for aside in batch.aside), case
        if case.kind != "cancel":  # read, and not looked at
            assert len(ordered(batch.told)) + len(batch.aside) == 1, case


@pytest.mark.parametrize("field", JOB_FIELDS)
def test_a_report_at_its_extremes_is_read_or_set_aside_alone(field: str) -> None:
    metrics = Metrics()
    before, after = (JobEvent(UUID(int=number), "t", State.RUNNING, NOON, "pod") for number in (1, 3))
    for case in _by_field[field]:
        written = b",".join((events.encode([before])[1:-1], case.body, events.encode([after])[1:-1]))
        batch = batch_of("job.leveret.q", b"[%b]" % written)
        if case.value in BREAKS_THE_LIST:
            assert [aside.body for aside in batch.aside] == [b"[%b]" % written], case
            continue
        assert (batch.reports[0].event, batch.reports[-1].event) == (before, after), case
        assert len(batch.reports) + len(batch.aside) == 3, case
        assert all(aside.body == b"[%b]" % case.body and aside.because for aside in batch.aside), case
        rows, attempts = merge.jobs(batch.reports), merge.attempts(batch.reports)
        assert all(number in FITS for row in rows for number in (row.tie, row.attempt, row.generation)), case
        assert all(row.merge_key in FITS for row in attempts), case
        tally.count(metrics, batch.reports, Recorded(tuple(rows), frozenset(row.id for row in attempts)))
    sums = [line for line in generate_latest(metrics.registry).decode().splitlines() if "_sum{" in line]
    assert not [line for line in sums if line.endswith(("Inf", "NaN"))]


BREAKS_THE_LIST = {"never closed", "no JSON"}  # nobody knows where the next event begins


def test_the_table_has_every_field_of_every_event() -> None:
    written = {case.field for field in _by_field.values() for case in field}
    for struct in (struct for structs in KINDS.values() for struct in structs):
        for one in msgspec.structs.fields(struct):
            assert f"{struct.__name__}.{one.encode_name}" in written
    for parts in ("JobEvent.error.traceback", "JobEvent.progress.total", "HandlersRegistered.types.t.schema"):
        assert parts in written, "and those of what is in it"


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_is_not_known_is_no_reason_to_set_an_event_aside(kind: str) -> None:
    for struct in KINDS[kind]:
        whole = ordinary(struct) | {"not_known": {"a": [1, None]}}
        batch = batch_of(f"{kind}.leveret.q", json.dumps([whole] if kind == "job" else whole).encode())
        assert batch.aside == []


def test_a_clock_of_any_day_moves_no_row_out_of_its_order() -> None:
    """An attempt's end outranks its progress, whatever the clocks said, and the earlier end counts."""
    far = datetime(9999, 12, 31, tzinfo=UTC)
    running = JobEvent(UUID(int=1), "t", State.RUNNING, far, "pod")
    ended = JobEvent(UUID(int=1), "t", State.SUCCEEDED, NOON, "pod")
    for order in ((running, ended), (ended, running)):
        (row,) = merge.attempts(Report("q", one) for one in order)
        assert row.outcome == "succeeded"


def test_an_end_is_not_before_its_beginning() -> None:
    """Retention counts from it, and would remove at once what a clock of 1970 ended."""
    ended = JobEvent(UUID(int=1), "t", State.DEAD, datetime(1970, 1, 1, tzinfo=UTC), "pod", submitted_at=NOON)
    assert merge.job_row(Report("q", ended)).finished_at == NOON
