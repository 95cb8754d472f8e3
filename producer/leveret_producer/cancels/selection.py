"""Which jobs are to be cancelled."""

from datetime import datetime
from typing import Annotated

import msgspec

from leveret.jobs import FINAL, State
from leveret_producer.posted import flawed
from leveret_producer.problems import Flaw
from leveret_producer.selection import KEPT, Ids, Type, read

_Since = Annotated[datetime, msgspec.Meta(tz=True, description="Submitted then or later; with an offset")]
_Until = Annotated[datetime, msgspec.Meta(tz=True, description="Submitted before; with an offset")]


class JobFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which jobs, of those that have not ended; what is not given is any."""

    state: State | None = None
    type: Type | None = None
    since: _Since | None = None
    until: _Until | None = None


class JobSelection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Exactly one of the three."""

    ids: Ids | None = None
    filter: JobFilter | None = None
    all: bool | None = None

    @property
    def wanted(self) -> JobFilter:
        return self.filter or JobFilter()


_selection = msgspec.json.Decoder(JobSelection)


def read_selection(body: bytes) -> JobSelection:
    """Raise Refused for what can't be meant."""
    found = read(body, _selection, JobSelection, JobFilter, jobs="jobs")
    if found.wanted.state in FINAL:
        raise flawed(Flaw("/filter/state", "is final: these jobs have ended"), kept=KEPT)
    return found
