from pathlib import Path

import pytest

from leveret.settings import BadSetting, Broker, Database, MissingSetting, Places


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
        pytest.param("amqp://u:p@[::1]:1/v", Broker("::1", 1, "u", "p", "v"), id="an address of IPv6"),
    ],
)
def test_a_broker_url_outside_a_cluster(url: str, broker: Broker) -> None:
    assert Places({"LEVERET_BROKER_URL": url}).broker() == broker


def test_a_broker_comes_back_out_of_its_own_url() -> None:
    broker = Broker("h", 1, "u:s@r", "p/w d", "/v h")
    assert Places({"LEVERET_BROKER_URL": broker.url()}).broker() == broker
    broker = Broker("fd00::2", 1, "u", "p", "/")
    assert Places({"LEVERET_BROKER_URL": broker.url()}).broker() == broker


URLS = [
    pytest.param("amqps://u:hush@h/", "begins with amqps://.*not speak TLS", id="TLS"),
    pytest.param(
        "amqp://u:hush@h:5671", "port in LEVERET_BROKER_URL is 5671.*not speak TLS.*write 5672", id="TLS's port"
    ),
    pytest.param("h:5672", "must look like amqp://", id="no scheme"),
    pytest.param("http://u:hush@h:15672", "must look like amqp://", id="another scheme"),
    pytest.param("amqp://u:hush@:5672/", "must look like amqp://", id="no host"),
    pytest.param("amqp://u:hush@h:0/", "a port from 1 to 65535", id="port 0"),
    pytest.param("amqp://u:hush@h:70000/", "a port from 1 to 65535", id="a port that is too large"),
    pytest.param("amqp://u:hush@h:amqp/", "a port from 1 to 65535", id="a port that is a name"),
    pytest.param("amqp://u:hush/hush@h:5672/", "written as %2F", id="a password that is not quoted"),
    pytest.param("amqp://u:hush@[h:5672/", "must look like amqp://", id="a bracket"),
]


@pytest.mark.parametrize(("url", "says"), URLS)
def test_a_url_that_can_not_be_used_is_one_sentence_without_it(url: str, says: str) -> None:
    with pytest.raises(BadSetting, match=says) as raised:
        Places({"LEVERET_BROKER_URL": url}).broker()
    assert "hush" not in str(raised.value)
    assert raised.value.__cause__ is raised.value.__context__ is None, "a traceback would quote it"


def test_a_database_url() -> None:
    for scheme in ("postgresql", "postgres"):
        places = Places({"LEVERET_DATABASE_URL": f"{scheme}://u:p@h/d"})
        assert places.database() == Database("h", 5432, "u", "p", "d")
    with pytest.raises(BadSetting, match=r"LEVERET_DATABASE_URL can't be used.*postgresql://"):
        Places({"LEVERET_DATABASE_URL": "mysql://u:p@h/d"}).database()


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1", "5672x", "²"])
def test_a_secrets_port_that_is_none_is_a_sentence(port: str, tmp_path: Path) -> None:
    secret(tmp_path, "broker", host="rabbit", port=port, username="u", password="p")
    with pytest.raises(BadSetting, match=r"the key port of the Secret in .*/broker must be a whole number"):
        Places({}, tmp_path).broker()


def test_the_port_of_tls_in_a_secret_gets_the_sentence_of_amqps(tmp_path: Path) -> None:
    secret(tmp_path, "broker", host="h", port="5671", username="u", password="hush")
    with pytest.raises(
        BadSetting, match=r"port of the Secret in .*/broker is 5671.*not speak TLS.*write 5672"
    ) as raised:
        Places({}, tmp_path).broker()
    assert "hush" not in str(raised.value)


def test_a_secret_that_is_no_text_is_a_sentence(tmp_path: Path) -> None:
    secret(tmp_path, "broker", host="rabbit", port="5672", username="u")
    (tmp_path / "broker" / "password").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSetting, match="is not UTF-8"):
        Places({}, tmp_path).broker()


def test_what_is_missing_is_named_with_its_place_and_the_way_out(tmp_path: Path) -> None:
    secret(tmp_path, "broker", host="h", port="5672", username="u", password="")
    with pytest.raises(MissingSetting, match=r"broker lacks password, and LEVERET_BROKER_URL is not set"):
        Places({}, tmp_path).broker()
    with pytest.raises(MissingSetting, match="mount the Secret leveret-token"):
        Places({}, tmp_path).token()


def test_a_password_is_not_in_the_repr() -> None:
    assert "hush" not in repr(Broker("h", 1, "u", "hush", "v")) + repr(Database("h", 1, "u", "hush", "d"))


def test_an_installations_id_claims_the_virtual_host_and_none_does_not(tmp_path: Path) -> None:
    secret(tmp_path, "broker", host="rabbit", port="5672", username="u", password="p")
    places = Places({}, tmp_path)
    assert places.broker().installation is None
    secret(tmp_path, "installation", id="0a1b-2c")
    assert places.broker().installation == "0a1b-2c"
    at = {"LEVERET_BROKER_URL": "amqp://h"}
    assert Places(at, tmp_path).broker().installation == "0a1b-2c"
    assert Places(at | {"LEVERET_INSTALLATION": "other"}, tmp_path).broker().installation == "other"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("a b", id="a space"),
        pytest.param("a" * 65, id="long"),
        pytest.param("'", id="a quote"),
    ],
)
def test_an_id_that_cannot_be_one_is_refused(tmp_path: Path, text: str) -> None:
    secret(tmp_path, "installation", id=text)
    refuses_to_connect(tmp_path)


def test_a_secret_without_the_id_is_refused_and_does_not_pass_for_none(tmp_path: Path) -> None:
    secret(tmp_path, "installation", ID="0a1b-2c")
    refuses_to_connect(tmp_path)


def refuses_to_connect(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="1 to 64 letters, digits and hyphens"):
        Places({"LEVERET_BROKER_URL": "amqp://h"}, tmp_path).broker()
