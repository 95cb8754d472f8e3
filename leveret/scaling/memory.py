"""What is kept of one queue between two looks, and one look: signals and depths in, a decision out.

Not kept over a restart of the operator: a new memory starts with the replicas that there are as *wanted now*, so that
nothing shrinks only because nothing is remembered.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from leveret.scaling.backlog import Reading, together
from leveret.scaling.decide import Decision, Observation, Policy, Want, decide
from leveret.scaling.demand import Demand, Signals, assess, silence
from leveret.scaling.proof import NOTHING, Proof, prove_empty


@dataclass(frozen=True, slots=True)
class Memory:
    signals: Signals
    proof: Proof = NOTHING
    wants: tuple[Want, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """One tick's outcome."""

    demand: Demand
    observation: Observation
    decision: Decision
    memory: Memory


def begin(replicas: int, now: datetime) -> Memory:
    """A memory of nothing but the present."""
    return Memory(silence(now), wants=(Want(now, replicas, unwritten=True),))


def look(
    policy: Policy,
    memory: Memory,
    depths: Reading,
    *,
    replicas: int,
    now: datetime,
    source: Reading | None = None,
) -> Look:
    """Observe and decide; `replicas` is what the Deployment was told.

    `source` is the reading of the queue of dead letters that the consumers take beside their own, if they do.
    """
    live, bulk = depths
    demand, signals = assess(memory.signals, live, bulk, replicas=replicas, now=now, source=source)
    everything = together(bulk, source[1]) if source else bulk
    proof = prove_empty(memory.proof, everything, last_work=demand.last_work, now=now)
    backlog = demand.backlog
    written, more = (everything.written_by, backlog.at_least > everything.whole) if everything else (None, True)
    observation = Observation(
        now, replicas, backlog.total, backlog.at_least, proof.empty_since, backlog.source, written, more
    )
    decision = decide(policy, observation, memory.wants)
    return Look(demand, observation, decision, Memory(signals, proof, decision.wants))


def not_empty_after_all(policy: Policy, memory: Memory, before: Memory, seen: Observation) -> tuple[Decision, Memory]:
    """The last check before zero found a message, or failed: begin the proof anew, and decide again.

    `before` is the memory from before the look, `memory` the present one, which may have heard more since.
    """
    decision = decide(policy, replace(seen, empty_since=None), before.wants)
    return decision, replace(memory, proof=Proof(last_work=seen.at), wants=decision.wants)
