"""Snapshots of a demonstration: before anything happened, in its midst, and at its end."""

from datetime import UTC, datetime, timedelta

import pytest

from demo.snapshot import Decision, Sample, Snapshot, Tally

BEGAN = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
UP = Decision(
    BEGAN + timedelta(seconds=0.4),
    0,
    10,
    "MaxReplicas",
    "backlog 3,000 at 100 for each replica wants 30; maxReplicas is 10, so that many are wanted and no more",
)
DOWN = Decision(BEGAN + timedelta(seconds=70), 10, 1, "Backlog", "backlog 12 at 100 for each replica wants 1")


@pytest.fixture
def empty() -> Snapshot:
    return Snapshot("leveret.url-check", BEGAN, 0.0, Tally(waiting=3000))


@pytest.fixture
def midst() -> Snapshot:
    samples = (
        Sample(0.0, 0, 0, 0, 0),
        Sample(5.0, 100, 2900, 4, 10),
        Sample(10.0, 600, None, None, None),
        Sample(15.0, 1200, 1800, 10, 10),
        Sample(20.0, 2000, 1000, 10, 10),
    )
    counted = Tally(waiting=700, running=240, retrying=60, succeeded=1960, dead=40, retries=321)
    return Snapshot("leveret.url-check", BEGAN, 20.0, counted, samples, (UP,))


@pytest.fixture
def end(midst: Snapshot) -> Snapshot:
    counted = Tally(succeeded=2898, dead=102, retries=633)
    samples = (*midst.samples, Sample(75.0, 3000, 0, 1, 1))
    return Snapshot("leveret.url-check", BEGAN, 75.0, counted, samples, (UP, DOWN))
