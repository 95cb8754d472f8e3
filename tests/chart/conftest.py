"""The chart as helm renders it, without a cluster."""

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.render import CHART, ROOT, helm

Object = dict[str, Any]


class Chart:
    """Objects that `helm template` makes of the chart, release and namespace `leveret`."""

    @staticmethod
    def render(
        *settings: str,
        values: str = "",
        only: str = "",
        release: str = "leveret",
        chart: Path = CHART,
        namespace: str = "leveret",
    ) -> list[Object]:
        """Return the objects, without those of `helm test`; settings are as for helm's --set.

        `values` is a file, by its path or its name beside values.yaml; `only` is one template, which may be one of the test.
        """
        done = template(settings, values, only, release, chart, namespace)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    @staticmethod
    def refusal(*settings: str) -> str:
        """Return what helm says as it refuses these settings."""
        done = template(settings)
        assert done.returncode != 0, f"helm renders the chart with {settings}"
        return done.stderr


@cache
def template(
    settings: tuple[str, ...],
    values: str = "",
    only: str = "",
    release: str = "leveret",
    chart: Path = CHART,
    namespace: str = "leveret",
) -> subprocess.CompletedProcess[str]:
    command = [helm(), "template", release, str(chart), "--namespace", namespace]
    command += ["--values", str(CHART / values)] if values else []
    command += ["--show-only", only] if only else ["--skip-tests"]
    for setting in settings:
        command += ["--set", setting]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def chart() -> Chart:
    return Chart()


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def objects(chart: Chart) -> list[Object]:
    """The chart with its defaults."""
    return chart.render()


@pytest.fixture(scope="session")
def one(objects: list[Object]) -> Callable[[str, str], Object]:
    """Return the one object of a kind and name."""

    def find(kind: str, name: str) -> Object:
        (found,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
        return found

    return find


@pytest.fixture(scope="session")
def pods(objects: list[Object]) -> dict[str, Object]:
    """Every pod template, by its component."""
    templates = [each["spec"]["template"] for each in objects if each["kind"] in {"Deployment", "StatefulSet"}]
    return {template["metadata"]["labels"]["app.kubernetes.io/component"]: template for template in templates}
