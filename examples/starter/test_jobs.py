import asyncio

import pytest
from jobs import Greet, greet, handlers

from leveret import Context, Reject


def test_somebody_is_greeted() -> None:
    assert asyncio.run(greet(Context(), Greet(name="Ada", times=2))) == ["Hello, Ada!"] * 2


def test_progress_is_told() -> None:
    told: list[tuple[float, float | None]] = []
    asyncio.run(
        greet(Context(report_progress=lambda done, total: told.append((done, total))), Greet(name="Ada", times=2))
    )
    assert told == [(1, 2), (2, 2)]


def test_what_is_never_done_is_rejected() -> None:
    with pytest.raises(Reject):
        asyncio.run(greet(Context(), Greet(name="Ada", times=101)))


def test_a_payload_is_read_as_a_consumer_reads_it() -> None:
    assert handlers["greet"].read(b'{"name": "Ada"}') == Greet(name="Ada")
