"""Which acks to send on a channel, so that a batch of ends costs few of them.

A channel numbers its deliveries 1, 2, 3 …, and a *multiple* ack takes its number and all below that are still out. So it
may only go as far as every number is known to be finished or given back: a job that still runs stops it, and so does a
number that was never heard of. What has finished beyond that is acknowledged one by one.

Pure: it knows numbers, not the channel. Whoever writes keeps one order: what is given back is written first and told
here after, else a multiple ack could overtake it and take a job that nobody has run.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Acks:
    """What to write now."""

    through: int | None = None  # a multiple ack: this number and all below
    singles: tuple[int, ...] = ()  # in order


class Acknowledger:
    """The numbers of one channel. What it keeps is at most what the broker lets the channel have unacknowledged."""

    def __init__(self) -> None:
        self._highest = 0  # that was heard of
        self._out: set[int] = set()  # those up to there that still run, or that nobody has heard of
        self._finished: set[int] = set()  # not acknowledged yet

    def finished(self, tag: int) -> None:
        """Note a delivery that the next flush acknowledges; raise ValueError for one that is gone."""
        self._take(tag)
        self._finished.add(tag)

    def given_back(self, tag: int) -> None:
        """Note a delivery whose nack or reject has been written; raise ValueError for one that is gone."""
        self._take(tag)

    def flush(self) -> Acks:
        """Return the acks for all that has finished since the last flush."""
        first_out = min(self._out, default=self._highest + 1)
        # Not simply the number below the first one out: a multiple ack that finds nothing is an error to the broker.
        through = max((tag for tag in self._finished if tag < first_out), default=None)
        singles = tuple(sorted(tag for tag in self._finished if tag > first_out))
        self._finished.clear()
        return Acks(through, singles)

    def _take(self, tag: int) -> None:
        if tag > self._highest:
            self._out.update(range(self._highest + 1, tag + 1))
            self._highest = tag
        if tag not in self._out:
            raise ValueError(f"delivery {tag} is acknowledged or given back already")
        self._out.remove(tag)
