"""What became of many jobs: as it is asked for, and as it is answered."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec

from leveret.jobs import State
from leveret_producer.posted import decoded

MOST_IDS = 1_000
KEPT = "Nothing was looked for."


class WantedJobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs by their ids; one that is there twice counts once."""

    ids: Annotated[list[UUID], msgspec.Meta(max_length=MOST_IDS)]


class Outcome(msgspec.Struct, frozen=True):
    """What became of a job."""

    id: UUID
    state: State
    result: msgspec.Raw | None
    error: msgspec.Raw | None


class OutcomeList(msgspec.Struct, frozen=True):
    jobs: list[Outcome]


_wanted = msgspec.json.Decoder(WantedJobs)


def read_ids(body: bytes) -> Sequence[UUID]:
    """Return the ids, each once, in order; raise Refused for what can't be meant."""
    found = decoded(body, _wanted, {"": WantedJobs}, kept=KEPT, example='{"ids": […]}')
    return list(dict.fromkeys(found.ids))
