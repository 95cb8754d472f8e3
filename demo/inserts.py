"""Some seconds of bulk-insert: an insert, a second one that is stopped midway, and how many rows there are after each."""

import time
from collections.abc import Callable
from typing import Any

import httpx
from rich.console import Console

from demo.api import NotThere
from leveret.jobs import FINAL, State

NAME = "bulk-insert"
ROWS, TO_STOP = 100_000, 1_000_000
STOP_AFTER_SECONDS = 1.0  # of its run
WAIT_SECONDS = 180.0  # for an end: the first consumer has to start
LOOK_EVERY_SECONDS = 0.5


def show(front: httpx.Client, console: Console, sleep: Callable[[float], None] = time.sleep) -> None:
    """Show it; raise NotThere where the front does not answer, or an insert doesn't end."""
    console.print()
    console.print(f"Inserting {ROWS:,} rows in one transaction, by {front.base_url} …")
    ended = _until(front, _begun(front, ROWS), FINAL, sleep)
    console.print(f"The insert is {ended}: the table has {_count(front):,} rows.")
    id = _begun(front, TO_STOP)  # noqa: A001
    _until(front, id, FINAL | {State.RUNNING}, sleep)
    sleep(STOP_AFTER_SECONDS)
    _ask(front, f"/stop/{id}")
    ended = _until(front, id, FINAL, sleep)
    console.print(
        f"One of {TO_STOP:,} rows that was stopped after {STOP_AFTER_SECONDS:g} s is {ended}: the table has {_count(front):,} rows."
    )


def _begun(front: httpx.Client, rows: int) -> str:
    return str(_ask(front, f"/insert/{rows}")["id"])


def _count(front: httpx.Client) -> int:
    return int(_ask(front, "/get_data/count")["count"])


def _until(front: httpx.Client, id: str, states: frozenset[State], sleep: Callable[[float], None]) -> str:
    for _ in range(round(WAIT_SECONDS / LOOK_EVERY_SECONDS)):
        if (state := _ask(front, f"/status/{id}")["state"]) in states:
            return str(state)
        sleep(LOOK_EVERY_SECONDS)
    raise NotThere(
        f"The insert {id} is still {state} after {WAIT_SECONDS:.0f} s. `kubectl -n leveret describe jq {NAME}`"
    )


def _ask(front: httpx.Client, path: str) -> Any:
    try:
        answer = front.get(path)
        answer.raise_for_status()
    except httpx.HTTPError as problem:
        raise NotThere(f"{NAME} does not answer ({problem}). `kubectl -n leveret get pods`") from problem
    return answer.json()
