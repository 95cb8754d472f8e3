"""The ledger in words: the faults with what each cost, what is wrong, and the sum."""

from collections import Counter
from collections.abc import Sequence

from chaos.ledger import Ledger, Wrong
from chaos.second_runs import SecondRun
from chaos.twins import Pair, Why

SHOWN = 20  # of each list


def table(ledger: Ledger, began: float, gaps: Sequence[tuple[float, float]]) -> str:
    """Draw the faults: when, what, until all was ready again, the second runs put down to it, the longest time without an end."""
    costs = Counter(one.cause for one in ledger.again)
    lines = [f"{'fault':>5}  {'at':>7}  {'ready after':>11}  {'run again':>9}  {'no end for':>10}  what"]
    for happened in ledger.faults:
        fault = happened.fault
        gap = longest_gap(gaps, happened.began, happened.ended + 5)
        lines.append(
            f"{fault.number:>5}  {happened.began - began:>5.0f} s  {happened.ended - happened.began:>9.1f} s"
            f"  {costs[fault.number]:>9}  {gap:>8.1f} s  {fault.title}{_pods(happened.pods)}"
        )
        if happened.problem:
            lines.append(f"{'':>7}NOT SO: {happened.problem}")
        elif happened.seen:
            lines.append(f"{'':>7}{happened.seen}")
    return "\n".join(lines)


def longest_gap(gaps: Sequence[tuple[float, float]], since: float, until: float) -> float:
    """Return the longest time in which no job ended and which overlaps with the one given; 0 if none was above a second."""
    return max((end - begin for begin, end in gaps if begin < until and end > since), default=0.0)


def account(ledger: Ledger) -> str:
    """Tell what is wrong, each with its job, and where the second runs came from."""
    parts = [
        _list("lost", ledger.lost),
        _list("stuck", ledger.stuck),
        _list("doubled", ledger.doubled),
        *(_list(f"ran {why}", ledger.of(why)) for why in Why),
        _list("run again with no fault that explains it", ledger.unexplained),
        *(_list(name, found) for account in ledger.accounts for name, found in account.wrong.items()),
        *(f"fault {one.fault.number} ({one.fault.title}): {one.problem}" for one in ledger.failed_faults),
        f"{ledger.finished:,} of {ledger.submitted:,} accepted jobs are in their right final state, each once.",
        f"{ledger.maybe:,} more jobs were stored though the connection broke before the answer.",
        _beside(ledger.again),
    ]
    return "\n".join(part for part in parts if part)


def _pods(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:2])}{' …' if len(names) > 2 else ''})" if names else ""


def _list(title: str, found: Sequence[Wrong | SecondRun | Pair | str]) -> str:
    if not found:
        return ""
    lines = [f"{title}: {len(found)}", *(f"  {one}" for one in found[:SHOWN])]
    if len(found) > SHOWN:
        lines.append(f"  … and {len(found) - SHOWN} more")
    return "\n".join(lines)


def _beside(again: Sequence[SecondRun]) -> str:
    resent = sum(one.cause == 0 for one in again)
    beside = sum(bool(one.cause) for one in again)
    said = f"{beside:,} second runs are each beside a fault that can cause them"
    return f"{said}, {resent:,} are of messages that their client sent twice." if resent else f"{said}."
