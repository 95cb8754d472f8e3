"""Connections to the database that come too late."""

import asyncio
from types import TracebackType
from typing import Any, cast

import pytest

from leveret.settings import Database
from leveret_producer.store import postgres
from leveret_producer.store.postgres import DatabaseUnavailable, Postgres


class LateConnection:
    """It is there just as its time is over, and has swallowed the cancellation, as libraries may."""

    async def __aenter__(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None: ...


class LateEngine:
    def connect(self) -> LateConnection:
        return LateConnection()


@pytest.mark.parametrize("way", ["statement", "transaction"])
async def test_a_connection_that_comes_as_its_time_is_over_is_no_defect(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "ACQUIRE_TIMEOUT", 0.001)
    store = Postgres(lambda: Database("nowhere", 1, "a", "b", "c"), connections=1, name="test")
    store._engine = store._committing = cast(Any, LateEngine())
    with pytest.raises(DatabaseUnavailable) as raised:
        async with getattr(store, way)():
            pytest.fail("it's too late to ask for anything")
    assert not raised.value.maybe_stored
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
