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
    """The numbers of one channel."""

    def __init__(self) -> None:
        self._all_gone = 0  # this number and all below are acknowledged or given back
        self._gone: set[int] = set()  # those above
        self._finished: set[int] = set()  # not acknowledged yet

    def finished(self, tag: int) -> None:
        """Note a delivery that the next flush acknowledges; raise ValueError for one that is gone."""
        self._must_be_here(tag)
        self._finished.add(tag)

    def given_back(self, tag: int) -> None:
        """Note a delivery whose nack or reject has been written; raise ValueError for one that is gone."""
        self._must_be_here(tag)
        self._gone.add(tag)

    def flush(self) -> Acks:
        """Return the acks for all that has finished since the last flush."""
        through = None
        reached = self._all_gone
        while (tag := reached + 1) in self._finished or tag in self._gone:
            reached = tag
            if tag in self._finished:
                through = tag
        self._gone.difference_update(range(self._all_gone + 1, reached + 1))
        self._finished.difference_update(range(self._all_gone + 1, reached + 1))
        self._all_gone = reached
        singles = tuple(sorted(self._finished))
        self._gone |= self._finished
        self._finished.clear()
        return Acks(through, singles)

    def _must_be_here(self, tag: int) -> None:
        if tag <= self._all_gone or tag in self._gone or tag in self._finished:
            raise ValueError(f"delivery {tag} is acknowledged or given back already")
