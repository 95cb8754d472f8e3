"""A quorum queue that takes what it is sent and answers nothing, as one does whose leader is lost."""

from collections.abc import Iterator
from contextlib import contextmanager

from containers import Server

from leveret.settings import Broker


@contextmanager
def hung(rabbitmq: Server, broker: Broker, queue: str) -> Iterator[None]:
    """Hold a queue up for as long as the context lasts."""
    process = f"'{broker.vhost}_{queue}'"
    rabbitmq.run("rabbitmqctl", "eval", f"sys:suspend({process}).")
    try:
        yield
    finally:
        rabbitmq.run("rabbitmqctl", "eval", f"sys:resume({process}).")
