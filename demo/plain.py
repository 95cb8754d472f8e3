"""The demo without a terminal, as in a log: one line now and then."""

from demo.snapshot import Snapshot, rate
from demo.view import clock, number


def line(now: Snapshot) -> str:
    """Return what a snapshot says in one line."""
    if now.trouble:
        return f"{clock(now.elapsed)}  waiting for fresh numbers: {now.trouble}"
    tally, last = now.tally, now.last
    speed = rate(now.samples, now.elapsed)
    return (
        f"{clock(now.elapsed)}  {tally.succeeded:,} succeeded, {tally.dead:,} dead, {tally.running:,} running, "
        f"{tally.retrying:,} retrying, {tally.waiting:,} waiting; {number(speed)}/s; backlog {number(last.backlog)}, "
        f"pods {number(last.replicas)} of {number(last.desired)} wanted"
    )
