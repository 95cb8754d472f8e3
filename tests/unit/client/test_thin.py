"""An application that submits jobs loads nothing of what only services and handlers need, and each use has what it needs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

FAT = "aio_pika aiormq fastapi kopf prometheus_client pydantic sqlalchemy structlog uuid_utils"


@pytest.mark.parametrize(
    ("script", "beside"),
    [
        pytest.param("import leveret, leveret.client", " httpx", id="the names alone"),
        pytest.param("from leveret.client import *", " httpx", id="all of the client"),
        pytest.param("from leveret.client import Client; Client('http://api', 't')", "", id="a client"),
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


# Takes what is installed here for missing, unless it is in the list.
WITH_ONLY = """
import sys
from importlib import import_module, metadata
class Missing:
    def find_spec(self, name, path=None, target=None):
        owners = known.get(name.partition(".")[0])
        if owners and not {re.sub("[._]", "-", one.lower()) for one in owners} & allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
import re
known = metadata.packages_distributions()
allowed = set(sys.argv[2].split()) | {"leveret"}
sys.meta_path.insert(0, Missing())
for module in sys.argv[1].split(): import_module(module)
"""
CLIENT = "anyio certifi h11 httpcore httpx idna msgspec typing-extensions"


def locked(service: str) -> str:
    return " ".join(re.findall(r"(?m)^([a-z0-9._-]+)", (ROOT / "requirements" / f"{service}.txt").read_text()))


@pytest.mark.parametrize(
    ("modules", "installed"),
    [
        pytest.param("leveret.client.wire leveret.client.blocking leveret.client.asynchronous", CLIENT, id="client"),
        pytest.param("leveret_consumer.__main__ leveret.sdk.handlers", locked("consumer"), id="consumer"),
        pytest.param("leveret_producer.__main__", locked("producer"), id="producer"),
        pytest.param("leveret_operator.__main__", locked("operator"), id="operator"),
    ],
)
def test_each_use_imports_no_more_than_its_extra_brings(modules: str, installed: str) -> None:
    script = [sys.executable, "-c", WITH_ONLY, modules, installed]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
