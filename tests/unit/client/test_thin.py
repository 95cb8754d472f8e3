"""An application that submits jobs loads nothing of what only services and handlers need."""

import subprocess
import sys

import pytest

FAT = "aio_pika aiormq fastapi kopf prometheus_client pydantic sqlalchemy structlog uuid_utils"


@pytest.mark.parametrize(
    ("script", "beside"),
    [
        pytest.param("import leveret, leveret.client", " httpx", id="the names alone"),
        pytest.param("from leveret.client import *", "", id="all of the client"),
        pytest.param("from leveret.jobs import State", " httpx", id="what decides"),
    ],
)
def test_what_an_import_loads(script: str, beside: str) -> None:
    script = f"import sys; {script}; print([one for one in '{FAT}{beside}'.split() if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("package", ["leveret", "leveret.client"])
def test_a_package_offers_all_its_names_and_no_other(package: str) -> None:
    found = __import__(package, fromlist=["*"])
    assert all(getattr(found, name).__name__ == name for name in found.__all__)
    assert set(found.__all__) <= set(dir(found))
    with pytest.raises(AttributeError, match="has no attribute 'Hare'"):
        _ = found.Hare
