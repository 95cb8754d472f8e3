"""What Leveret can be set against: bare references, or itself at an older commit."""

from dataclasses import dataclass

from bench.against.consume import consume
from bench.against.post import post
from bench.against.record import record
from bench.measures import Measure, PureMeasure
from bench.measures.consume import CONSUME
from bench.measures.decide import DECIDE
from bench.measures.publish import PUBLISH
from bench.measures.record import RECORD
from bench.measures.rpc import RPC
from bench.measures.submit import SUBMIT
from bench.measures.table import TABLE
from bench.versions import Version

BASE = "66f6c15"  # the commit that goals are told against, unless another is named
BARE_MEASURES: tuple[Measure | PureMeasure, ...] = (DECIDE, SUBMIT, PUBLISH, CONSUME, RECORD, RPC)


@dataclass(frozen=True, slots=True)
class Comparison:
    limits: str  # the part of the file of limits
    title: str
    measures: tuple[Measure | PureMeasure, ...]
    longest: float  # s for all measures together, beside starting the servers


def bare() -> Comparison:
    return Comparison("bare", "Leveret ÷ bare reference, in the same run", BARE_MEASURES, longest=240.0)


def on_a_large_table() -> Comparison:
    return Comparison("table", "the same statements on 1,000,000 jobs ÷ on 20,000", (TABLE,), longest=270.0)


def against(base: Version) -> Comparison:
    title = f"Leveret today ÷ at commit {base.name}, in the same run"
    # The longest comes last: what the others left of their time is its.
    return Comparison("base", title, (post(base), record(base), consume(base)), longest=270.0)
