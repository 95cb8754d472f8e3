"""Which brokers are new enough, judged by what they say of themselves while a connection is made.

The guarantees rest on quorum queues as RabbitMQ 4.3 has them. On an older broker jobs would be lost in silence, so its
connections are closed before anything is declared. A version that can't be read is refused as well: nobody tested with it.
"""

import re

OLDEST = (4, 3)

_FORM = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})(?![0-9]).*", re.DOTALL)


class BrokerTooOld(ConnectionError):
    """The broker is not one that the guarantees hold on; the message tells which it is and what to do."""


def parse_version(text: object) -> tuple[int, int] | None:
    """Return major and minor, where `4.3.0-rc.1` counts as 4.3; None for what is no version."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    return (int(found[1]), int(found[2])) if found else None


def check_version(said: object) -> None:
    """Raise BrokerTooOld unless the broker says that it is new enough."""
    needed, version = ".".join(map(str, OLDEST)), parse_version(said)
    if version is None:
        raise BrokerTooOld(
            f"the broker says that its version is {said!r:.100}, which can't be read, and Leveret needs RabbitMQ {needed} or "
            "later; nothing was done on it: connect to such a broker"
        )
    if version < OLDEST:
        raise BrokerTooOld(
            f"the broker is RabbitMQ {said!s:.100}, and Leveret needs {needed} or later; nothing was done on it: upgrade the "
            "broker, and work begins a few seconds later"
        )
