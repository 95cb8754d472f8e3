"""How full the outbox may become, known without counting for each request.

All replicas share the outbox, and each counts it every few seconds. In between a replica adds what it takes in and
subtracts what it notes as confirmed; what the others do meanwhile it learns at the next count. So the bound is kept
to within a few seconds of the others' intake.
"""

RETRY_AFTER = 5  # s: by then it is counted anew


class OutboxFull(Exception):
    """So many jobs wait for the broker that no more are taken in."""

    def __init__(self, waiting: int, limit: int) -> None:
        super().__init__(f"about {waiting:,} jobs wait for the broker, and the limit is {limit:,}")
        self.waiting, self.limit = waiting, limit


class Bound:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counted = 0
        self._since = 0  # what this replica added since the last count, less what it noted as confirmed
        self._begun = 0  # the same when the present count began

    def admit(self, jobs: int) -> None:
        """Count jobs that are about to be stored; raise OutboxFull if there is no room. `not_stored` takes it back."""
        waiting = max(0, self._counted + self._since)
        if waiting >= self._limit:
            raise OutboxFull(waiting, self._limit)
        self._since += jobs

    def confirmed(self, jobs: int) -> None:
        self._since -= jobs

    def not_stored(self, jobs: int) -> None:
        """Take back what was admitted, since it came to nothing."""
        self._since -= jobs

    def begin_count(self) -> None:
        """Tell that the outbox is about to be counted: what comes from now on may not be in the count."""
        self._begun = self._since

    def counted(self, jobs: int) -> None:
        """Take over a count that was begun."""
        self._counted, self._since = jobs, self._since - self._begun
