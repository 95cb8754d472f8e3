"""The environment, and sentences about what is wrong in it."""

import pytest

from leveret.settings import MissingSetting
from leveret_operator.queue_names import AllowedNames
from leveret_operator.settings import read_settings


def test_defaults() -> None:
    settings = read_settings({"LEVERET_NAMESPACE": "leveret"})
    assert (settings.broker_secret, settings.metrics_port, settings.management_port) == ("leveret-broker", 15692, 15672)
    assert (settings.consumer_pull_policy, settings.probe_port, settings.log) == (None, 9000, "text")
    assert settings.allowed_names == AllowedNames()
    assert (settings.consumer_pull_secrets, settings.consumer_resources) == ((), {})
    assert (settings.installation_secret, settings.own_secrets) == (None, {})
    named = read_settings({"LEVERET_NAMESPACE": "leveret", "LEVERET_QUEUE_NAMES": "shop.*,mails"})
    assert named.allowed_names == AllowedNames(("shop.*", "mails"))


def test_what_consumers_are_given() -> None:
    given = {"LEVERET_CONSUMER_PULL_SECRETS": "one,two", "LEVERET_CONSUMER_RESOURCES": '{"limits": {"memory": "1Gi"}}'}
    settings = read_settings({"LEVERET_NAMESPACE": "leveret", **given})
    assert settings.consumer_pull_secrets == ("one", "two")
    assert settings.consumer_resources == {"limits": {"memory": "1Gi"}}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        pytest.param("LEVERET_CONSUMER_PULL_POLICY", "Sometimes", "must be one of Always", id="pull-policy"),
        pytest.param("LEVERET_CONSUMER_RESOURCES", "cpu: 1", "must be a JSON object, such as", id="resources"),
        pytest.param("LEVERET_CONSUMER_RESOURCES", "[]", "must be a JSON object, such as", id="resources in a list"),
        pytest.param("LEVERET_BROKER_METRICS_PORT", "http", "must be a port, such as 15692", id="port"),
        pytest.param("LEVERET_QUEUE_NAMES", "shop mails", "LEVERET_QUEUE_NAMES: 'shop mails' is no name", id="names"),
        pytest.param(
            "LEVERET_OWN_SECRETS", "{}}", "LEVERET_OWN_SECRETS can't be read, and is the chart's", id="secrets"
        ),
        pytest.param("LEVERET_LOG", "xml", "must be json or text", id="log"),
    ],
)
def test_what_is_wrong_is_said(name: str, value: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_settings({"LEVERET_NAMESPACE": "leveret", name: value})


def test_outside_a_pod_the_namespace_must_be_named() -> None:
    with pytest.raises(MissingSetting, match="LEVERET_NAMESPACE is not set"):
        read_settings({})
