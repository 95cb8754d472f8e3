"""Where this machine takes its packages from, as its apt sources say it."""

from pathlib import Path

import pytest

from clusterkit import debian

STANZAS = """\
Types: deb
URIs: file:/security
Suites: trixie-security

Enabled: no
Types: deb
URIs: file:/off
Suites: trixie

Types: deb deb-src
URIs: file:/good
Suites: trixie trixie-updates
"""
LINES = """\
# deb file:/no trixie main
deb-src file:/src trixie main
deb [a=b] file:/good trixie main
"""


@pytest.mark.parametrize(
    ("release", "file", "text", "mirror"),
    [
        pytest.param(
            "ID=debian\nVERSION_CODENAME=trixie\n", "sources.list.d/debian.sources", STANZAS, "file:/good", id="stanzas"
        ),
        pytest.param(
            'ID=debian\nVERSION_CODENAME="trixie"\n', "sources.list", LINES, "file:/good", id="one-line-style"
        ),
        pytest.param("ID=debian\nVERSION_CODENAME=forky\n", "sources.list", LINES, None, id="no-such-suite"),
        pytest.param("ID=ubuntu\nVERSION_CODENAME=trixie\n", "sources.list", LINES, None, id="another-distribution"),
    ],
)
def test_mirror(tmp_path: Path, release: str, file: str, text: str, mirror: str | None) -> None:
    (tmp_path / "os-release").write_text(release)
    path = tmp_path / "apt" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert debian.mirror(tmp_path) == mirror


@pytest.mark.parametrize("name", ["chromium", "google-chrome"])
def test_a_browser_is_one_by_any_of_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian.program("chromium") is None
    (tmp_path / name).touch(mode=0o755)
    assert debian.program("chromium") == str(tmp_path / name)
    assert debian.is_there("chromium")
