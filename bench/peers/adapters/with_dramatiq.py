"""Dramatiq with its default middleware; a slot is a thread. It names no queue type: the virtual host's default is quorum."""

from functools import partial

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from bench.peers import QUEUE
from bench.peers.adapters import URL, in_threads, run

dramatiq.set_broker(RabbitmqBroker(url=URL, confirm_delivery=True))
publish = partial(in_threads, dramatiq.actor(run, actor_name="job", queue_name=QUEUE).send)
