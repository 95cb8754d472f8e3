"""How much this process asks the broker for: what `prefetch` makes of its slots, its run times and its time-outs."""

import asyncio

from leveret_consumer.intake import Wants
from leveret_consumer.load import Load
from leveret_consumer.prefetch import Prefetch, RunTimes, consider, consumer_timeout, wanted
from leveret_consumer.settings import Settings


class Demand:
    """Of one connection: each begins with as many deliveries as there are slots."""

    def __init__(self, settings: Settings, load: Load) -> None:
        self._settings, self._load = settings, load
        self._prefetch = Prefetch(load.slots)
        self._times = RunTimes()

    def own_queue(self) -> Wants:
        """Look at how long jobs ran lately, and tell what to hold of the own queue."""
        load, now = self._load, asyncio.get_running_loop().time()
        self._times.note(now, load.finished.attempts, load.finished.busy_seconds, busy=load.busy > 0)
        mean = self._times.mean()
        self._prefetch = consider(self._prefetch, None if mean is None else wanted(load.slots, mean), now)
        return self._wants(self._prefetch.count)

    def most_waiting_replies(self) -> int:
        """Tell how many jobs that have ended may wait for their replies: a tenth of what is held."""
        return max(1, self._prefetch.count // 10)

    def source_queue(self) -> Wants:
        """Tell what to hold of the other queue's dead letters: no extra, there are few."""
        return self._wants(self._load.slots)

    def _wants(self, count: int) -> Wants:
        slots = self._load.slots
        held = self._prefetch.count + (slots if self._settings.source_queue else 0)  # both wait for the same slots
        return Wants(count, consumer_timeout(self._settings.timeout, slots, held))
