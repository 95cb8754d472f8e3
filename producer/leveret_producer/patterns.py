"""Patterns, as the handlers' own reading has them: pydantic's engine, linear, with Unicode's letters and digits.

Linear is not free: a match takes a time that grows with the pattern's size, `[ab]*a[ab]{5000}c` 25 µs for each
character, and `\\w{100}` takes 40 ms until it is compiled. So a pattern is weighed before; one that is too heavy, or that the
engine does not have (it looks around, or back), is not checked.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema

LONGEST = 2_000  # characters of a pattern
HEAVIEST = 10_000  # compiled in 30 ms
_LIGHT = 300  # below it the engine's automaton fits its cache, and a character takes 20 ns
_LETTERS, _MOST = 150, 10  # the weight of Unicode's letters, and of other large classes; a character has 1

_TOKEN = re.compile(
    r"\\[pPxuU]\{[^}]*\}|\\[pP].|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{\s*(\d{0,9})\s*(?:,\s*(\d{0,9})\s*)?\}|[()]|.",
    re.DOTALL,
)
_LETTER = re.compile(r"\\[wWpPbBD]")
_WIDE = re.compile(r"\.|\[\^|.*\\[dsS]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pattern:
    text: str
    matches: Callable[[str], bool]
    weight: int

    def steps(self, characters: int) -> int:
        """Return how much work a match is, in halves of a microsecond."""
        return characters // 25 if self.weight <= _LIGHT else characters * self.weight // 100


@lru_cache(maxsize=1_024)
def pattern(text: str) -> Pattern | None:
    """Return a pattern; None for one that can't be checked."""
    heavy = HEAVIEST + 1 if len(text) > LONGEST else weight(text)
    if heavy > HEAVIEST:
        return None
    try:
        engine = SchemaValidator(core_schema.str_schema(pattern=text, regex_engine="rust-regex", strict=True))
    except SchemaError:
        return None
    return Pattern(text, engine.isinstance_python, heavy)


def weight(text: str) -> int:
    """Return about how many states a pattern has: what is repeated counts as often as it may come, a group twice that."""
    groups, last, is_group = [0], 0, False
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "(":
                groups.append(0)
            case ")":
                last = groups.pop() if len(groups) > 1 else 0
                groups[-1] += last
            case _ if token[1] is not None:
                times = max(int(token[1] or 0), int(token[2] or 0), 1) * (1 + is_group)
                groups[-1] += last * (times - 1)
                last *= times
            case atom:
                last = _LETTERS if _LETTER.search(atom) else _MOST if _WIDE.match(atom) else 1
                groups[-1] += last
        is_group = token[0] == ")"
    return sum(groups)
