"""docs/guarantees.md names a test behind every sentence: each of them exists."""

import re
from pathlib import Path

import pytest

from leveret.version import VERSION, oldest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
NAMED = re.findall(r"`(tests/\S+\.py)::(\w+)`", PAGE)


def test_there_are_guarantees() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_the_test_behind_a_sentence_exists(file: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_none_holds_from_a_version_to_come() -> None:
    told = re.findall(r"(?m)^\| ([0-9]\S*):", PAGE)
    assert told
    assert [version for version in told if oldest([version, VERSION]) != version] == []
