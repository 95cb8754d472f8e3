"""Why a reply was dropped; one that was not confirmed may have arrived."""

from enum import StrEnum

from aiormq.exceptions import ChannelInvalidStateError

REPLIES_DROPPED = "Replies that were not sent, or not confirmed in time"


class Dropped(StrEnum):
    """Each is counted, and said in its own words."""

    text: str

    def __new__(cls, value: str, text: str) -> "Dropped":
        made = str.__new__(cls, value)
        made._value_, made.text = value, text
        return made

    REFUSED = "refused", "a reply is dropped: its queue refuses it"  # as one that is full
    UNCONFIRMED = "unconfirmed", "a reply is dropped: the broker does not confirm it"  # in time
    UNCONNECTED = "unconnected", "a reply is dropped: its connection has ended"  # before it was confirmed
    CROWDED = "crowded", "a reply is dropped: those before it are not answered"  # and it is not sent
    NOT_ALLOWED = "not_allowed", "no reply is sent to a queue of Leveret's own"


def reason_of(problem: Exception) -> Dropped:
    """Return why it's not confirmed: the broker has something against it, or isn't there."""
    isnt_there = any(isinstance(one, OSError | ChannelInvalidStateError) for one in (problem, problem.__cause__))
    return Dropped.UNCONNECTED if isnt_there else Dropped.REFUSED
