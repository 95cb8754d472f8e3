"""One whole tick of the scaler for one queue (assess the signals, prove, decide), beside parsing a small document.

Both are counted by processor time, which others on the machine don't take away.
"""

import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta

from bench.measures import PureMeasure, Turns, rates
from leveret.scaling.backlog import Depth
from leveret.scaling.decide import Policy
from leveret.scaling.demand import Beat, Hinted, hear_beat, hear_hint
from leveret.scaling.memory import Memory, begin, look

DECISIONS, PARSES = 5_000, 50_000
TICK = timedelta(seconds=1)
CONSUMERS, PRODUCERS = 10, 2
POLICY = Policy(0, 20, 100, timedelta(seconds=60), timedelta(minutes=2))
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
# Waves of work with pauses in between, so that replicas go up, are held, and come down.
DEPTHS = (0, 0, 120, 900, 2_000, 1_500, 700, 90, 0, 0)
DOCUMENT = json.dumps(
    {
        "queue": {"ready": 120, "unacked": 80, "backlog": 200, "deadLetters": 0, "arrivalRate": 12.5},
        "replicas": 2,
        "conditions": [
            {"type": f"Condition{number}", "status": "True", "reason": "AsExpected", "message": "all is well " * 4}
            for number in range(5)
        ],
    }
)


@contextlib.asynccontextmanager
async def _open() -> AsyncIterator[Turns]:
    yield rates("decide", _decisions, _parses)


async def _decisions() -> float:
    memory, replicas = _heard(begin(0, BEGIN)), 0
    began = time.process_time()
    for tick in range(DECISIONS):
        now = BEGIN + tick * TICK
        depth = DEPTHS[tick % len(DEPTHS)]
        depths = Depth(now, depth), Depth(now, depth, depth // 10)
        seen = look(POLICY, memory, depths, replicas=replicas, now=now)
        memory, replicas = seen.memory, seen.decision.replicas
        if not memory.signals.beats:  # those in force run out after some ticks
            memory = _heard(memory, now)
    return DECISIONS / (time.process_time() - began)


# In older versions each hint also has what the broker counted when it came.
_COUNTED = (0,) * (len(fields(Hinted)) - 4)


def _heard(memory: Memory, now: datetime = BEGIN) -> Memory:
    signals = memory.signals
    for number in range(PRODUCERS):
        signals = hear_hint(signals, f"producer-{number}", Hinted(now, 1_000, 50, now, *_COUNTED), now)
    for number in range(CONSUMERS):
        signals = hear_beat(signals, f"consumer-{number}", Beat(now, 10, 1_000), now)
    return Memory(signals, memory.proof, memory.wants)


async def _parses() -> float:
    began = time.process_time()
    for _ in range(PARSES):
        json.loads(DOCUMENT)
    return PARSES / (time.process_time() - began)


DECIDE = PureMeasure("decide", "scaling decisions ÷ json.loads of one document", _open)
