"""Messages in the control stream: what is written is what is read, and what nobody of us wrote is told."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from leveret import control
from leveret.control import Cancel, CancelRule, Control, Snapshot

AT = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
JOBS = [(UUID(int=1), 1), (UUID(int=2**128 - 1), 32_767)]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(Control(AT), id="empty"),
        pytest.param(Control(AT, [Cancel("a.b", control.pack(JOBS), AT)]), id="jobs"),
        pytest.param(Control(AT, [CancelRule("a.b", AT, AT)]), id="a rule for all"),
        pytest.param(Control(AT, [CancelRule("a.b", AT, AT, since=AT, type="t")]), id="a rule"),
        pytest.param(Control(AT, snapshot=Snapshot(UUID(int=3), 0)), id="a snapshot's first"),
        pytest.param(Control(AT, snapshot=Snapshot(UUID(int=3), 4, 5)), id="a snapshot's last"),
    ],
)
def test_a_message_is_read_as_it_was_written(message: Control) -> None:
    assert control.decode(control.encode(message)) == message


def test_jobs_are_packed_with_their_generations() -> None:
    packed = control.pack(JOBS)
    assert len(packed) == 2 * 18
    assert list(control.unpack(packed)) == JOBS


def test_a_thousand_jobs_are_a_small_message() -> None:
    jobs = control.pack((UUID(int=number), 1) for number in range(control.MOST_JOBS))
    assert len(control.encode(Control(AT, [Cancel("a.b", jobs, AT)]))) < 25_000


def test_jobs_that_are_cut_off_are_refused() -> None:
    with pytest.raises(ValueError, match="35 bytes"):
        list(control.unpack(control.pack(JOBS)[:-1]))


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"at": "2026-11-29T12:00:00"}', b'{"at": "2026-11-29T12:00:00Z", "commands": [{"kind": "x"}]}'],
)
def test_what_is_no_message_is_told(body: bytes) -> None:
    with pytest.raises(ValueError, match="no control message"):
        control.decode(body)
