"""What pytest's reports say: how many tests passed, and which of those that failed may run once more.

A test with real servers, a cluster or a browser may fail for what the machine did meanwhile. One that passes when it is
run again, alone, is no failure, but *flaky*, and named. That is so for a few tests that ran and failed. Where many fail,
where one was skipped, or where something else than a test went wrong, the first run stands.
"""

import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_FLAKY = 5  # tests of a stage: more have a cause


@dataclass(frozen=True, slots=True)
class Counts:
    passed: int = 0
    failed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.passed + other.passed, self.failed + other.failed)


def counted(junit: str) -> Counts:
    """Count the tests of a report: errors and skipped ones have not passed."""
    suites = list(ET.fromstring(junit).iter("testsuite"))
    total = sum(int(suite.get("tests", 0)) for suite in suites)
    failed = sum(int(suite.get(kind, 0)) for suite in suites for kind in ("failures", "errors", "skipped"))
    return Counts(max(total - failed, 0), failed)


def to_repeat(junit: str, root: Path) -> tuple[str, ...]:
    """Name the tests that failed, as pytest is told to run them; none where the first run stands."""
    bad = [case for case in ET.fromstring(junit).iter("testcase") if not _passed(case)]
    names = tuple(dict.fromkeys(None if case.find("skipped") is not None else _node_id(case, root) for case in bad))
    known = tuple(name for name in names if name)
    return known if known == names and len(known) <= MOST_FLAKY else ()


def passed_again(names: Sequence[str], junit: str, root: Path) -> tuple[str, ...]:
    """Return those of the named tests that a second run's report knows as passed."""
    passed: dict[str | None, bool] = {}
    for case in ET.fromstring(junit).iter("testcase"):
        name = _node_id(case, root)
        passed[name] = passed.get(name, True) and _passed(case)
    return tuple(name for name in names if passed.get(name))


def ends_early(options: str) -> bool:
    """Tell whether pytest's options let it stop before it has run all tests: then nothing is known of the others."""
    long = ("--exitfirst", "--maxfail", "--stepwise", "--sw")
    return any(word.startswith(long) or re.fullmatch("-[a-zA-Z]*x[a-zA-Z]*", word) for word in shlex.split(options))


def _passed(case: ET.Element) -> bool:
    return all(case.find(kind) is None for kind in ("failure", "error", "skipped"))


def _node_id(case: ET.Element, root: Path) -> str | None:
    """Put a test's name together again; None for what is no test in a file, as one that can't be collected."""
    parts = case.get("classname", "").split(".")
    for length in range(len(parts), 0, -1):
        file = "/".join(parts[:length]) + ".py"
        if (root / file).is_file():
            return "::".join((file, *parts[length:], case.get("name", "")))
    return None
