"""Whether a consumer calls a message a dead letter itself, or leaves that to one of its JobQueue's present version.

While a rollout is under way, consumers of two versions take from one queue. The old one doesn't know a type that the new
one brought, or takes a payload for invalid by a model that has changed, and the other way round when it goes back. So only
a consumer of the present version, which the operator tells, says so of a job; any other gives the message back, for a
while: whoever has heard nothing for a minute, and a message that has gone round for ten, does without.
"""

import math
from datetime import datetime, timedelta

import msgspec

from leveret.jobs import DeadReason

OF_THE_VERSION = frozenset({DeadReason.UNKNOWN_TYPE, DeadReason.INVALID_PAYLOAD})  # what another one may find otherwise
LAST_LEVEL = 3  # 8 s: a message waits no longer for the end of a rollout that is over already


class Limits(msgspec.Struct, frozen=True):
    """After which a consumer of any version judges."""

    silence: timedelta = timedelta(seconds=60)  # since the present version was told
    round_trips: timedelta = timedelta(minutes=10)  # since a message was given back for the first time


DEFAULT_LIMITS = Limits()


class Told(msgspec.Struct, frozen=True):
    """What the operator told last."""

    version: str | None  # None: nothing yet
    ago: timedelta  # since then, or since the consumer's start


class Again(msgspec.Struct, frozen=True):
    """Not judged here: the message comes again when a delay level's time has passed."""

    level: int  # 2^level s
    since: datetime  # what the copy says of when it was given back first


def gives_back(
    reason: DeadReason, own: str, told: Told, since: datetime | None, now: datetime, limits: Limits = DEFAULT_LIMITS
) -> Again | None:
    """Return how a message goes back that is a dead letter by the handlers of version `own` ("": not known); None: it is one.

    `since` is when it was given back first, None if it never was. It's a header, and anybody may write those: one in the
    future counts as now, and is written so on the copy, or the message would go round until then.
    """
    if reason not in OF_THE_VERSION or not own or told.version == own or told.ago >= limits.silence:
        return None
    since = min(since or now, now)
    gone_round = now - since
    return Again(level_after(gone_round), since) if gone_round < limits.round_trips else None


def level_after(gone_round: timedelta) -> int:
    """Return the delay level for a message that has gone round so long: 2^0 s, 2^1, … one after the other, then the last.

    Before the wait of 2^k s it has waited 1 + 2 + … + 2^(k−1) = 2^k − 1.
    """
    return min(LAST_LEVEL, math.floor(math.log2(gone_round.total_seconds() + 1)))
