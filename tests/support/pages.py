"""The code on a page of the documentation."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    language: str  # '' where none is given
    text: str


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of a page, in order; of these languages only, if some are named."""
    found = [Block(language, text) for _, language, text in _BLOCK.findall(page.read_text())]
    return [block for block in found if not languages or block.language in languages]
