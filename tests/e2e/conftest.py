"""The chart in a real cluster, installed once for all end-to-end tests; `make e2e` has made the cluster and loaded the images.

Two processes share the files: those whose releases are in namespaces of their own mostly wait, and run beside the others.
"""

import fcntl
import tempfile
from pathlib import Path

import pytest
from api import Api
from kube import Namespace
from release import api_of, apply_examples, install

BESIDE_THE_OTHERS = ("test_start_order", "test_uninstall", "test_upgrade")


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        beside = item.path.stem in BESIDE_THE_OTHERS
        item.add_marker(pytest.mark.xdist_group("beside" if beside else "release"))


@pytest.fixture(scope="session")
def namespace() -> Namespace:
    with (Path(tempfile.gettempdir()) / "leveret-e2e.lock").open("w") as lock:  # helm refuses two at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        return install()


@pytest.fixture(scope="session")
def api(namespace: Namespace) -> Api:
    return api_of(namespace)


@pytest.fixture(scope="session")
def examples(namespace: Namespace, api: Api) -> None:
    """The JobQueues `url-check` and `bench`, Ready and known to the API, and the servers that are checked."""
    apply_examples(namespace, api)
    namespace.kubectl("rollout", "status", "deployment/url-check-targets", "--timeout=300s")
