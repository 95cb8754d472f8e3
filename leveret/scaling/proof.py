"""When a zero is believed: two bulk zeros, at least 6 s apart, both read after the last sign of work.

The broker's statistics are written every 5 s, so two zeros 6 s apart come from two writings. Any sign of work (a depth,
a hint, a consumer that is busy) starts the proof anew, and so does a reading that fails to come.
"""

from dataclasses import dataclass
from datetime import datetime

from leveret.scaling.backlog import BULK_GOOD_FOR, WRITTEN_WITHIN, Depth


@dataclass(frozen=True, slots=True)
class Proof:
    """How far the proof has come."""

    last_work: datetime | None = None
    first_zero: datetime | None = None  # the first bulk zero since the last sign of work
    empty_since: datetime | None = None  # the start of the proven zero; None until it is proven


NOTHING = Proof()


def prove_empty(proof: Proof, bulk: Depth | None, *, last_work: datetime | None, now: datetime) -> Proof:
    """Return the proof after one more look.

    `last_work` is the time of the newest sign of work: a live depth above 0, an unconfirmed job, a new commit, a
    heartbeat with jobs in flight or finished. What bulk counts is seen here.
    """
    if bulk is not None and (bulk.ready or bulk.unacked):
        last_work = max(bulk.at, last_work or bulk.at)
    newest = max((at for at in (last_work, proof.last_work) if at is not None), default=None)
    if bulk is None or now - bulk.at > BULK_GOOD_FOR or bulk.ready is None or bulk.unacked is None:
        return Proof(newest)
    if newest != proof.last_work:
        proof = Proof(newest)
    if bulk.ready or bulk.unacked or (newest is not None and bulk.at <= newest):
        return proof
    if proof.first_zero is None:
        return Proof(newest, first_zero=bulk.at)
    if proof.empty_since is None and bulk.at - proof.first_zero >= WRITTEN_WITHIN:
        return Proof(newest, proof.first_zero, empty_since=proof.first_zero)
    return proof
