"""Docker's default runtime: changed, and taken back to what it was, on files in a folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from clusterkit import runtime
from clusterkit.cache import HERE
from clusterkit.console import Fail

BEFORE = [
    pytest.param(None, id="no settings"),
    pytest.param("", id="an empty file"),
    pytest.param('{"log-level":   "warn"}', id="settings of others, in their own form"),
    pytest.param('{"default-runtime": "runc", "runtimes": {"kata": {"path": "/kata"}}}', id="another runtime beside"),
    pytest.param('{"runtimes": {}}', id="no other runtime"),
]


class Daemon:
    """Reads its settings when it is told to, as dockerd does: what is left out stays as it is."""

    def __init__(self, place: runtime.Place) -> None:
        self.place, self.default = place, "runc"

    def apply(self, default: str) -> None:
        self.default = runtime.read(self.place.settings).get("default-runtime", self.default)
        assert self.default == default


@pytest.fixture
def place(tmp_path: Path) -> runtime.Place:
    (tmp_path / "sbin").mkdir()
    return runtime.Place(tmp_path / "docker/daemon.json", tmp_path / "sbin/leveret-runc")


def put_in(place: runtime.Place, before: str | None = None) -> Daemon:
    if before is not None:
        place.settings.parent.mkdir(parents=True)
        place.settings.write_text(before)
    runtime.put_in(place)
    daemon = Daemon(place)
    daemon.apply("leveret-runc")
    return daemon


def settings(place: runtime.Place) -> Any:
    return json.loads(place.settings.read_text())


@pytest.mark.parametrize("before", BEFORE)
def test_what_was_there_before_is_there_again(place: runtime.Place, before: str | None) -> None:
    daemon = put_in(place, before)
    assert settings(place)["runtimes"]["leveret-runc"] == {"path": str(place.wrapper)}
    assert place.wrapper.read_text() == (HERE / "runc-wrap.sh").read_text()
    assert place.wrapper.stat().st_mode & 0o777 == 0o755
    runtime.put_in(place)  # once more, as after somebody else's change: what was there first is not forgotten
    runtime.take_back([], daemon.apply, place)
    assert daemon.default == "runc"
    assert (place.settings.read_text() if place.settings.exists() else None) == (before or None)
    assert not place.wrapper.exists()
    assert not place.before.exists()


def test_what_others_have_changed_since_stays(place: runtime.Place) -> None:
    daemon = put_in(place, '{"log-level": "warn"}')
    place.settings.write_text(json.dumps(settings(place) | {"log-level": "debug", "debug": True}))
    runtime.take_back([], daemon.apply, place)
    assert settings(place) == {"log-level": "debug", "debug": True}


def test_another_default_of_somebody_elses_stays(place: runtime.Place) -> None:
    put_in(place, "{}")
    place.settings.write_text(json.dumps(settings(place) | {"default-runtime": "kata"}))
    runtime.take_back([], lambda _: pytest.fail("the default was not ours"), place)
    assert settings(place) == {"default-runtime": "kata"}


def test_containers_that_need_the_wrapper_keep_it(place: runtime.Place, capsys: pytest.CaptureFixture[str]) -> None:
    daemon = put_in(place)
    runtime.take_back(["mine"], daemon.apply, place)
    assert daemon.default == "runc"
    assert place.wrapper.exists()
    assert "leveret-runc" in settings(place)["runtimes"]
    assert "stays for mine, which can't be stopped without it" in capsys.readouterr().err
    runtime.take_back([], daemon.apply, place)
    assert not place.settings.exists()
    assert not place.wrapper.exists()


def test_settings_of_the_kit_before_which_kept_no_copy(place: runtime.Place) -> None:
    daemon = put_in(place)
    place.before.unlink()
    runtime.take_back([], daemon.apply, place)
    assert not place.settings.exists()


def test_without_our_wrapper_nothing_is_changed(place: runtime.Place) -> None:
    place.settings.parent.mkdir()
    place.settings.write_text('{"default-runtime": "kata"}')
    runtime.take_back([], lambda _: pytest.fail("nothing is ours"), place)
    assert place.settings.read_text() == '{"default-runtime": "kata"}'


@pytest.mark.parametrize("text", ["{", "[]"])
def test_settings_that_nobody_can_read_are_left_alone(place: runtime.Place, text: str) -> None:
    place.settings.parent.mkdir()
    place.settings.write_text(text)
    with pytest.raises(Fail, match="mend it first"):
        runtime.put_in(place)
    assert place.settings.read_text() == text
    assert not place.wrapper.exists()
