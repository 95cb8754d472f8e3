"""Every relative link of the documentation leads somewhere, and every command's program is one that a reader has."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from pages import ROOT, Block, blocks

PAGES = sorted(
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
)
SHELLS = ("bash", "sh", "console", "shell")
# Of the shell and the system, and the tools that the pages tell how to get.
PROGRAMS = {
    *("[", "for", "local", "return", "base64", "cat", "cd", "cp", "echo", "export", "sed", "sleep", "unset", "until"),
    *(
        "curl",
        "docker",
        "git",
        "go",
        "grep",
        "gzip",
        "helm",
        "kind",
        "kubectl",
        "make",
        "mktemp",
        "pip",
        "python3",
        "rabbitmqctl",
        "rm",
        "tar",
    ),
    *(".venv/bin/pip", ".venv/bin/pytest", ".venv/bin/python"),
}
KEYWORDS = {"do", "done", "then", "else", "fi", "while", "if", "!", "{", "}"}
_LINK = re.compile(r"\[[^\]]*\]\(\s*([^)\s]+)[^)]*\)")
_CODE = re.compile(r"(?ms)^ *```.*?^ *```|`[^`\n]*`")
_HERE = re.compile(r"<<'?(\w+)'?")


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#{1,6} (.+)$", re.sub(r"(?ms)^```.*?^```", "", page.read_text()))
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


def broken(page: Path) -> list[str]:
    found = []
    for link in _LINK.findall(_CODE.sub("", page.read_text())):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in _anchors(target)):
            found.append(link)
    return found


def commands(block: Block) -> list[str]:
    """Return a block's commands; what a here-document holds is none, nor is what a command printed."""
    found: list[str] = []
    lines = iter(block.text.splitlines())
    for line in lines:
        command = line.removeprefix("$ ")
        if block.language == "console" and command == line:
            continue
        while command.endswith("\\") or _is_open(command):
            command = command.removesuffix("\\") + "\n" + next(lines)
        if here := _HERE.search(command):
            while next(lines) != here[1]:
                pass
        found.append(command)
    return found


def _words(command: str) -> list[str]:
    lexer = shlex.shlex(command.replace(">&2", ""), posix=True, punctuation_chars=";|&()")
    lexer.whitespace_split, lexer.commenters = True, "#"
    return list(lexer)


def _is_open(command: str) -> bool:
    """Say whether a quote is still to be closed."""
    try:
        return _words(command) is None
    except ValueError:
        return True


def parts(command: str) -> list[list[str]]:
    """Return the words of each part of a pipe or a list, assignments before them left out."""
    found: list[list[str]] = [[]]
    for word in _words(command):
        if re.fullmatch(r"[;|&()]+", word):
            found.append([])
        elif found[-1] or not (word in KEYWORDS or re.match(r"\w+=", word)):
            found[-1].append(word)
    return [part for part in found if part]


def programs(block: Block) -> list[str]:
    return [part[0] for command in commands(block) for part in parts(command)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_commands_program_is_there(page: Path) -> None:
    found = {one for block in blocks(page, *SHELLS) for one in programs(block)}
    own = {name for block in blocks(page, *SHELLS) for name in re.findall(r"(?m)^(\w+)\(\) \{", block.text)}
    assert found - own - PROGRAMS - {"$PYTHON"} == set()


def test_every_target_of_make_and_every_script_is_there() -> None:
    targets = set(re.findall(r"(?m)^([a-z0-9-]+)(?= |:).*:", (ROOT / "Makefile").read_text()))
    targets |= set(re.findall(r"(?m)^([a-z]+):", (ROOT / "examples/starter/Makefile").read_text()))
    for page in PAGES:
        for words in (part for block in blocks(page, *SHELLS) for one in commands(block) for part in parts(one)):
            if words[:1] == ["make"]:
                named = {word for word in words[1:] if not word.startswith("-") and "=" not in word}
                assert named <= targets, f"{page}: {words}"
            if words[:1] == ["python3"] and words[1].endswith(".py"):
                assert (ROOT / words[1]).is_file(), f"{page}: {words}"


def test_what_is_broken_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading, `code`\n[a](#a-heading-code) [b](#none) [c](none.md) [d](https://x.example) `[e](e)`\n"
    )
    assert broken(page) == ["#none", "none.md"]


SHELL = [
    pytest.param("bash", "A=1 kubectl get x | leverte y && echo 1\n", ["kubectl", "leverte", "echo"], id="pipe"),
    pytest.param("bash", "curl -d '{\n  x' y # none\n", ["curl"], id="two lines, and a comment"),
    pytest.param("bash", "docker a \\\n  b\nmake\n", ["docker", "make"], id="a line goes on"),
    pytest.param("bash", "cat > x <<'EOF'\nnone\nEOF\nmake\n", ["cat", "make"], id="here-document"),
    pytest.param("bash", "curl x >&2; make\n", ["curl", "make"], id="redirection"),
    pytest.param("console", "$ curl x\nprinted\n$ make\n", ["curl", "make"], id="console"),
    pytest.param("bash", 'until [ "$(x)" = y ]; do sleep 1; done\n', ["until", "sleep"], id="loop"),
]


@pytest.mark.parametrize(("language", "text", "found"), SHELL)
def test_commands_are_read(language: str, text: str, found: list[str]) -> None:
    assert programs(Block(language, text)) == found
