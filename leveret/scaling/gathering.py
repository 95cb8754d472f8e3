"""Work that is still being handed in: whether to wait for the rest of it, so that one write answers all.

Some requests at once are stored over a second, on more than one producer, and each hint tells of what has come so far. So
the queue is looked at again while it grows. One replica more isn't waited for: the first job of a queue never waits.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from leveret.scaling.decide import Decision, Observation
from leveret.scaling.demand import Signals

LOOK_AGAIN = timedelta(milliseconds=300)
LONGEST = timedelta(milliseconds=1_500)  # from the first hint on: who gave it has given another by then
GROWS = 1.1  # less is no other size to speak of


@dataclass(frozen=True, slots=True)
class Gathering:
    """What has been told of since the last decision."""

    since: datetime  # the first hint
    jobs: int  # in all, as known before it or at the last look


def gather(gathering: Gathering | None, before: Signals, now: datetime) -> Gathering:
    """Go on, or begin, with a hint of work that was just heard; `before` is what was known until then."""
    return gathering or Gathering(now, before.ledger.known)


def wait_for_more(gathering: Gathering | None, seen: Observation, decision: Decision) -> Gathering | None:
    """Return what to hand back at a look in 300 ms, None to act now."""
    if gathering is None or decision.replicas <= seen.replicas + 1:
        return None
    if seen.at - gathering.since > LONGEST - LOOK_AGAIN or seen.at_least < gathering.jobs * GROWS:
        return None
    return replace(gathering, jobs=seen.at_least)
