"""The chart in a real cluster, installed once for all end-to-end tests; `make e2e` has made the cluster and loaded the images."""

import pytest
from api import Api
from kube import Namespace
from release import api_of, apply_examples, install


@pytest.fixture(scope="session")
def namespace() -> Namespace:
    return install()


@pytest.fixture(scope="session")
def api(namespace: Namespace) -> Api:
    return api_of(namespace)


@pytest.fixture(scope="session")
def examples(namespace: Namespace, api: Api) -> None:
    """The JobQueues `url-check` and `bench`, Ready and known to the API, and the servers that are checked."""
    apply_examples(namespace, api)
    namespace.kubectl("rollout", "status", "deployment/url-check-targets", "--timeout=300s")
