"""One installation per virtual host, held by an argument of an exchange.

Names on the broker are fixed, so two installations in one virtual host would take each other's events. Who has an
installation's id declares the exchange `leveret.installation` with that id in its `alternate-exchange`, the one argument of
an exchange that the broker compares: the first one has it, whatever comes later with another id is refused. It is the first
thing that is done over a connection. Nothing is published to either exchange.
"""

import re

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelPreconditionFailed

from leveret.rabbitmq.declare import declare
from leveret.topology import INSTALLATION, Exchange, Topology

_HAS_IT = re.compile(re.escape(f"current is '{INSTALLATION}.") + "([A-Za-z0-9-]+)'")  # the broker cuts long texts


class BrokerShared(ConnectionError):
    """The virtual host is another installation's; the message tells whose, and what to do."""


async def claim(connection: AbstractConnection, installation: str, vhost: str) -> None:
    """Raise BrokerShared if another installation has the virtual host; one of BrokerErrors."""
    exchange = Exchange(INSTALLATION, "fanout", {"alternate-exchange": f"{INSTALLATION}.{installation}"})
    try:
        async with await connection.channel(publisher_confirms=False) as channel:
            await declare(channel, Topology((exchange,), (), ()))
    except ChannelPreconditionFailed as problem:
        raise BrokerShared(_sentence(str(problem), installation, vhost)) from problem


def _sentence(problem: str, installation: str, vhost: str) -> str:
    other = _HAS_IT.search(problem)
    whose = f"the installation {other[1]}'s" if other else "another installation's"
    return (
        f"the virtual host {vhost!r} of the broker is {whose}, and this is the installation {installation}: nothing is consumed, "
        "declared or published here, and nothing is lost; give this one a virtual host of its own (key vhost of its Secret), "
        "or take this one over if the other is gone for good (docs/how-to/one-virtual-host-each.md); tried again all the time"
    )
