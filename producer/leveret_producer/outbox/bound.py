"""How full the outbox may become, known without counting for each request.

All replicas share the outbox, and each counts it every few seconds. In between a replica adds what it takes in and
subtracts what it notes as confirmed; what the others do meanwhile it learns at the next count. So the bound is kept
to within a few seconds of the others' intake.
"""

from leveret_producer.problems import Refused

RETRY_AFTER = 5  # s: by then it is counted anew


class Bound:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counted = 0
        self._since = 0  # what this replica added since the last count, less what it noted as confirmed
        self._begun = 0  # the same when the present count began

    def admit(self, jobs: int) -> None:
        """Count jobs that are about to be stored; raise Refused if the outbox is full."""
        waiting = max(0, self._counted + self._since)
        if waiting >= self._limit:
            raise _full(waiting, self._limit)
        self._since += jobs

    def confirmed(self, jobs: int) -> None:
        self._since -= jobs

    def begin_count(self) -> None:
        """Tell that the outbox is about to be counted: what comes from now on may not be in the count."""
        self._begun = self._since

    def counted(self, jobs: int) -> None:
        """Take over a count that was begun."""
        self._counted, self._since = jobs, self._since - self._begun


def _full(waiting: int, limit: int) -> Refused:
    return Refused(
        "outbox-full",
        f"About {waiting:,} jobs wait for the broker to confirm them, and the limit is {limit:,} (the chart's value "
        "producer.outboxLimit). They are kept, and published as soon as the broker takes them; of this request nothing was "
        "stored. Send it again later. GET /readyz tells how the broker is.",
        headers={"Retry-After": str(RETRY_AFTER)},
    )
