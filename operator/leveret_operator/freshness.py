"""The condition MetricsFresh: whether a queue's numbers are known, and if not, who should tell them and why they don't."""

from datetime import datetime, timedelta

from leveret_operator.broker_statistics import Statistics
from leveret_operator.conditions import State

SILENT_AFTER = timedelta(seconds=30)  # so long a node may be restarted without a word


def fresh(reading: Statistics | None, now: datetime) -> State:
    """The numbers are known. A node that has been silent for longer is said all the same: with the next one they may not be."""
    text = "the broker's numbers are at most 10 s old"
    silent = sorted(name for name, since in reading.silent.items() if now - since > SILENT_AFTER) if reading else ()
    if silent:
        return State(True, "NodesSilent", f"{text}; of its nodes {_do_not_answer(silent)}", wrong=True)
    return State(True, "Fresh", text)


def missing(queue: str, reading: Statistics | None, problem: str | None) -> State:
    """`problem` is why nobody answered at all."""
    reason, because = "SignalsStale", problem
    if reading and not problem:
        reason, because = _why(queue, reading)
    return State(False, reason, f"the queue's numbers are missing or too old ({because}); nothing is taken away")


def _why(queue: str, reading: Statistics) -> tuple[str, str]:
    row = reading.rows.get(queue)
    if row and not row.led:
        up = ", ".join(row.online) or "none"
        return (
            "NoLeader",
            f"{queue} has no leader: it needs most of its members {', '.join(row.members)}, and up is {up}",
        )
    if reading.silent:
        return "NodesSilent", f"{queue} is in no node's answer, and {_do_not_answer(sorted(reading.silent))}"
    listed = reading.depths.get(queue)
    if row and listed and listed.ready is None:
        return (
            "SignalsStale",
            f"the management API lists {queue} without its numbers, and its leader {row.leader} doesn't tell them either",
        )
    if row:
        return (
            "SignalsStale",
            f"the management API has just begun to say that {queue} is empty, which is believed after 6 s",
        )
    if reading.unlisted:
        return "SignalsStale", (
            f"{queue} is in no answer of the nodes that the Secret's host leads to; the management API would tell of all, "
            f"{reading.unlisted}"
        )
    return "SignalsStale", f"the broker has no numbers of {queue} yet"


def _do_not_answer(nodes: list[str]) -> str:
    return f"{', '.join(nodes)} {'does' if len(nodes) == 1 else 'do'} not answer"
