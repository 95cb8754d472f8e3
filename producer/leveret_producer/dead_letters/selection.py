"""Which dead letters a request means."""

from datetime import datetime
from typing import Annotated

import msgspec

from leveret.jobs import DeadReason
from leveret_producer.selection import Ids, Type, read

_Since = Annotated[datetime, msgspec.Meta(tz=True, description="Died then or later; with an offset")]
_Until = Annotated[datetime, msgspec.Meta(tz=True, description="Died before; with an offset")]


class DeadLetterFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which dead letters; what is not given is any."""

    reason: DeadReason | None = None
    type: Type | None = None
    since: _Since | None = None
    until: _Until | None = None


class DeadLetterSelection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Exactly one of the three."""

    ids: Ids | None = None
    filter: DeadLetterFilter | None = None
    all: bool | None = None

    @property
    def wanted(self) -> DeadLetterFilter:
        return self.filter or DeadLetterFilter()


_selection = msgspec.json.Decoder(DeadLetterSelection)


def read_selection(body: bytes) -> DeadLetterSelection:
    """Raise Refused for what can't be meant."""
    return read(body, _selection, DeadLetterSelection, DeadLetterFilter, jobs="dead letters")
