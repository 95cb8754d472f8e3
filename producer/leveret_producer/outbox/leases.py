"""Which jobs this replica has leased, until their confirms are written down or they are given back. The clock is an argument.

A lease is as old as the statement that asked for it: the database wrote its end later, so by our clock it never ends too
early. It is renewed while its job waits, is on its way, or has a confirm that is not written down yet; and a job is
published only under one that is young, so that there is time to renew it should the broker be slow, or we. What another
replica has by now is not published here.
"""

from collections.abc import Iterable, Mapping

from leveret_producer.store.outbox import Lease, Publication

# Of a lease's 30 s: the loop may stand for 10 s when it is time, and the database take 5 s then.
RENEW_AFTER = 10.0  # s
YOUNG = 12.0  # s; what is older than that when its job's turn comes was not renewed in time, so that is tried first


class Leases:
    def __init__(self) -> None:
        self._held: dict[Publication, tuple[Lease | None, float]] = {}  # None: lost

    def __contains__(self, one: Publication) -> bool:
        return one in self._held

    def hold(self, one: Publication, lease: Lease, asked_at: float) -> None:
        self._held[one] = lease, asked_at

    def young(self, one: Publication, now: float) -> bool:
        """Tell whether a job may be published now."""
        lease, asked_at = self._held.get(one, (None, now))
        return lease is not None and now - asked_at <= YOUNG

    def old(self, now: float) -> dict[Publication, Lease]:
        """Return the leases to renew now."""
        return {one: lease for one, (lease, asked_at) in self._held.items() if lease and now - asked_at >= RENEW_AFTER}

    def renewed(self, asked: Mapping[Publication, Lease], new: Mapping[Lease, Lease], asked_at: float) -> list[Lease]:
        """Take over what became of leases: those that aren't in `new` are lost.

        Return those of jobs that were let go meanwhile: they are to be given back.
        """
        left = []
        for one, old in asked.items():
            if self._held.get(one, (None,))[0] == old:
                self._held[one] = new.get(old), asked_at
            elif old in new:
                left.append(new[old])
        return left

    def let_go(self, ones: Iterable[Publication]) -> list[Lease]:
        """Forget jobs; return the leases of those that there still are."""
        held = (self._held.pop(one, (None,))[0] for one in ones)
        return [lease for lease in held if lease]
