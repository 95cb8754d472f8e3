"""A follow-up as a value. What makes one (`leveret.sdk.submitting`) is loaded with the first: few handlers submit."""

from datetime import datetime
from uuid import UUID

import msgspec


class FollowUp(msgspec.Struct, frozen=True):
    """A job that another one's handler has submitted."""

    id: UUID
    queue: str
    type: str
    payload: bytes  # JSON
    run_at: datetime | None = None  # not before then; None: at once
