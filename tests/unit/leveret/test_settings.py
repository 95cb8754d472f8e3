from pathlib import Path

import pytest

from leveret.settings import Broker, Database, MissingSetting, Places


def secret(folder: Path, name: str, **keys: str) -> None:
    (folder / name).mkdir()
    for key, value in keys.items():
        (folder / name / key).write_text(value + "\n")


def test_a_mounted_secret_is_read_again_each_time(tmp_path: Path) -> None:
    secret(tmp_path, "broker", host="rabbit", port="5672", username="u", password="old")
    places = Places({}, tmp_path)
    assert places.broker() == Broker("rabbit", 5672, "u", password="old", vhost="/")
    (tmp_path / "broker" / "password").write_text("new")
    assert places.broker().password == "new"


def test_a_database_secret(tmp_path: Path) -> None:
    secret(tmp_path, "database", host="pg", port="5432", username="u", password="p", dbname="d")
    assert Places({}, tmp_path).database() == Database("pg", 5432, "u", "p", "d")


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        pytest.param("amqp://u:p@h:1/v", Broker("h", 1, "u", "p", "v"), id="all"),
        pytest.param("amqp://h", Broker("h", 5672, "guest", "guest", "/"), id="defaults"),
        pytest.param("amqp://u:p%40%2F@h/%2Fv", Broker("h", 5672, "u", "p@/", "/v"), id="quoted"),
    ],
)
def test_a_broker_url_outside_a_cluster(url: str, broker: Broker) -> None:
    assert Places({"LEVERET_BROKER_URL": url}).broker() == broker


def test_a_broker_comes_back_out_of_its_own_url() -> None:
    broker = Broker("h", 1, "u:s@r", "p/w d", "/v h")
    assert Places({"LEVERET_BROKER_URL": broker.url()}).broker() == broker


def test_what_is_missing_is_named_with_its_place_and_the_way_out(tmp_path: Path) -> None:
    secret(tmp_path, "broker", host="h", port="5672", username="u", password="")
    with pytest.raises(MissingSetting, match=r"broker lacks password, and LEVERET_BROKER_URL is not set"):
        Places({}, tmp_path).broker()
    with pytest.raises(MissingSetting, match="mount the Secret leveret-token"):
        Places({}, tmp_path).token()


def test_a_password_is_not_in_the_repr() -> None:
    assert "hush" not in repr(Broker("h", 1, "u", "hush", "v")) + repr(Database("h", 1, "u", "hush", "d"))
