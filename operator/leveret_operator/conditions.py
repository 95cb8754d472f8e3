"""The conditions of a JobQueue: what works and what doesn't, with a sentence for a person.

A condition's `lastTransitionTime` moves only when its status does, so that people see since when something is so. What an
operator that has just started doesn't know yet stays as an earlier one recorded it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from leveret_operator.jobqueue import Condition


@dataclass(frozen=True, slots=True)
class State:
    """One thing that works (True), doesn't (False), or isn't known yet (None)."""

    good: bool | None
    reason: str  # CamelCase
    message: str
    wrong: bool = False  # it works, and needs a person all the same


CONTESTED = "Contested"
UPDATE_WAITS = "UpdateWaits"
UNKNOWN = State(None, "NotYetKnown", "not looked at yet")


@dataclass(frozen=True, slots=True)
class States:
    """Everything that a JobQueue's conditions are made from."""

    broker: State = UNKNOWN
    topology: State = UNKNOWN
    deployment: State = UNKNOWN
    consumers: State = UNKNOWN
    scaling: State = UNKNOWN
    metrics: State = UNKNOWN
    contested: State | None = None  # bad when True, and absent while it isn't

    @property
    def not_yet_known(self) -> bool:
        """Whether there is something that was not looked at since the start."""
        return UNKNOWN in (self.broker, self.topology, self.deployment, self.consumers, self.scaling, self.metrics)

    @property
    def ready(self) -> State:
        """Broker reached, topology declared, Deployment applied, consumers available; the first that isn't says why."""
        for state in (self.deployment, self.broker, self.topology, self.consumers):
            if state.good is not True:
                return state
        text = "the queue is declared and its consumers' Deployment is applied"
        if self.deployment.reason == UPDATE_WAITS:
            text = f"the queue is declared; {self.deployment.message}"
        for state in (self.topology, self.consumers):
            if state.wrong:
                text = f"{text}; {state.reason}: {state.message}"
        return State(True, "Reconciled", text)

    @property
    def spec_invalid(self) -> State | None:
        """That the JobQueue itself can't be carried out. It is bad when True, and absent while it isn't."""
        no = self.deployment
        if no.good is not False or no.reason not in ("SpecInvalid", "TemplateInvalid"):
            return None
        return State(True, no.reason, no.message, wrong=True)

    @property
    def broker_shared(self) -> State | None:
        """That the broker's virtual host is another installation's; bad when True, too."""
        no = self.broker
        if no.good is False and no.reason == "BrokerShared":
            return State(True, no.reason, no.message, wrong=True)
        return UNKNOWN if no == UNKNOWN else None


BAD_WHEN_TRUE = frozenset({"SpecInvalid", "BrokerShared"})  # absent while they aren't True


def conditions(
    states: States, before: Iterable[Condition], *, generation: int, now: datetime, adjusted: Sequence[str] = ()
) -> tuple[Condition, ...]:
    """Return all conditions, keeping those that nothing is known of, and the transition time where the status is the same.

    `adjusted` is what is carried out in place of what the spec says, a sentence each.
    """
    earlier = {condition.type: condition for condition in before}
    named: dict[str, State | None] = {
        "Ready": states.ready,
        "BrokerReachable": states.broker,
        "TopologyReady": states.topology,
        "ConsumersAvailable": states.consumers,
        "ScalingActive": states.scaling,
        "MetricsFresh": states.metrics,
        "SpecInvalid": states.spec_invalid,
        "SpecAdjusted": State(True, "SpecAdjusted", "; ".join(adjusted), wrong=True) if adjusted else None,
        "BrokerShared": states.broker_shared,
        CONTESTED: states.contested,
    }
    made = []
    for type_, state in named.items():
        old = earlier.get(type_)
        if state is None or (state == UNKNOWN and old is None and type_ in BAD_WHEN_TRUE):
            continue
        if state == UNKNOWN and old:
            made.append(old)
            continue
        status = "Unknown" if state.good is None else str(state.good)
        since = old.since if old and old.status == status else now
        troubled = state.good is False or state.wrong
        made.append(Condition(type_, status, state.reason, state.message, since, generation, troubled))
    return tuple(made)


def changed(before: Iterable[Condition], after: Iterable[Condition]) -> list[Condition]:
    """Return the conditions whose status or reason is new, for Events and for writing at once."""
    earlier = {condition.type: (condition.status, condition.reason) for condition in before}
    return [condition for condition in after if earlier.get(condition.type) != (condition.status, condition.reason)]
