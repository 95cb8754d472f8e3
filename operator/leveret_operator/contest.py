"""Somebody else who sets what this operator sets: put right at once, and a contest if that is needed again within a minute.

A contest is told (condition `Contested`), and answered after pauses of 10 s, doubled up to a minute: so two writers don't
drive each other. It ends when for a minute nobody else has set anything again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from leveret_operator.conditions import CONTESTED, State
from leveret_operator.jobqueue import Condition

CALM_AFTER = timedelta(seconds=60)
SHORTEST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(seconds=60)
DELETES = "deletes the Deployment, and it is made again every 10 to 60 s; to be rid of it, delete the JobQueue"
CHANGES = (
    "changes what this operator applies to the Deployment, and it is applied again every 10 to 60 s; let the Deployment be, "
    "and say in spec.consumer.template what its pods should have"
)
SCALES = (
    "sets the Deployment's replicas, which follow the backlog, and they are set again every 10 to 60 s; remove the "
    "HorizontalPodAutoscaler or whatever sets them, and bound them in spec.scaling"
)
NOBODY_KNOWN = "somebody (metadata.managedFields doesn't say who; perhaps another operator)"


@dataclass(slots=True)
class Contest:
    """About one thing that is this operator's to set."""

    reason: str
    text: str  # behind the manager's name
    manager: str = NOBODY_KNOWN
    corrected_at: datetime | None = None
    contested_at: datetime | None = None  # found changed again
    _pause: timedelta = SHORTEST_PAUSE

    def may_correct(self, by: str | None, now: datetime) -> bool:
        """Call when `by` has set it, None if that isn't known; say whether to put it right now."""
        if self.corrected_at is None or (now - self.corrected_at >= CALM_AFTER and not self.goes_on(now)):
            self.manager = by or NOBODY_KNOWN
            return True
        self.manager, self.contested_at = by or self.manager, now
        return now - self.corrected_at >= self._pause

    def corrected(self, now: datetime) -> None:
        self.corrected_at = now
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if self.goes_on(now) else SHORTEST_PAUSE

    def goes_on(self, now: datetime) -> bool:
        return self.contested_at is not None and now - self.contested_at < CALM_AFTER


@dataclass(slots=True)
class Contests:
    """Those about one JobQueue, whose Deployment others may delete, change and scale."""

    deployment: Contest = field(default_factory=lambda: Contest("DeploymentContested", DELETES))
    template: Contest = field(default_factory=lambda: Contest("TemplateContested", CHANGES))
    replicas: Contest = field(default_factory=lambda: Contest("ReplicasContested", SCALES))
    wrote_at: datetime | None = None

    @property
    def all(self) -> tuple[Contest, ...]:
        return (self.deployment, self.template, self.replicas)

    def begin(self, recorded: Iterable[Condition], now: datetime) -> None:
        """Go on where an earlier operator was."""
        for condition in recorded:
            for contest in self.all:
                if (condition.type, condition.reason) == (CONTESTED, contest.reason):
                    manager = condition.message.removesuffix(f" {contest.text}")
                    # Another version has other words, which are nobody's name.
                    contest.manager = NOBODY_KNOWN if manager == condition.message else manager
                    contest.corrected_at = contest.contested_at = now

    def too_soon(self, now: datetime) -> bool:
        """Whether the last write of any kind was less than 10 s ago, while a contest goes on."""
        return self.wrote_at is not None and now - self.wrote_at < SHORTEST_PAUSE and self.state(now) is not None

    def state(self, now: datetime) -> State | None:
        for contest in self.all:
            if contest.goes_on(now):
                return State(True, contest.reason, f"{contest.manager} {contest.text}", wrong=True)
        return None
