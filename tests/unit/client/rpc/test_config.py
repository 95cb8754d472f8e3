"""Where the broker is, from a URL or a folder; what can't be used is a sentence, and no password is in it."""

from pathlib import Path

import pytest

from leveret.client.rpc.config import ConnectionConfig
from leveret.rabbitmq.tls import tls_context
from leveret.settings import BadSetting, Broker, MissingSetting, Tls

CA = Tls(Path("ca.crt"))


@pytest.mark.parametrize(
    ("url", "config"),
    [
        pytest.param("amqp://u:p@h:1/v", ConnectionConfig("u", "p", "h", 1, "v"), id="all"),
        pytest.param("amqp://h", ConnectionConfig("guest", "guest", "h", 5672, "/"), id="defaults"),
        pytest.param("amqps://h", ConnectionConfig(host="h", port=5671, tls=Tls()), id="TLS"),
        pytest.param("amqps://h:5672", ConnectionConfig(host="h", port=5672, tls=Tls()), id="TLS on another port"),
        pytest.param(
            "amqp://u%40x:p%40%2F%3A%C3%A4@h/%2Fv%20w", ConnectionConfig("u@x", "p@/:ä", "h", 5672, "/v w"), id="quoted"
        ),
        pytest.param("amqp://u:p@[fd00::2]:1/v", ConnectionConfig("u", "p", "fd00::2", 1, "v"), id="IPv6"),
    ],
)
def test_a_url(url: str, config: ConnectionConfig) -> None:
    assert ConnectionConfig.from_url(url) == config
    assert ConnectionConfig.from_url(config.broker().url()) == config


def test_a_url_with_settings_of_tls() -> None:
    assert ConnectionConfig.from_url("amqps://h", CA) == ConnectionConfig(host="h", tls=CA)


@pytest.mark.parametrize(
    ("url", "tls", "says"),
    [
        pytest.param("http://u:hush@h", None, "must look like amqps?://", id="another scheme"),
        pytest.param("amqp://u:hush@:1/", None, "must look like", id="no host"),
        pytest.param("amqp://u:hush@h:70000/", None, "a port from 1 to 65535", id="a port too large"),
        pytest.param("amqp://u:hush/hush@h/", None, "written as %2F", id="a password that is not quoted"),
        pytest.param("amqp://u:hu#sh@h/", None, "can't be used", id="a # in the password"),
        pytest.param("amqps://u:hush@h/?verify=no", None, "as `tls`", id="a setting after ?"),
        pytest.param("amqp://u:hush%FF@h/", None, "is not UTF-8", id="no UTF-8"),
        pytest.param("amqp://u:hush@h/", CA, "write amqps://", id="a CA for nothing"),
        pytest.param(f"amqp://u:hush@h/{'v' * 256}", None, "virtual host must have", id="a long virtual host"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, tls: Tls | None, says: str) -> None:
    with pytest.raises(BadSetting, match=says) as raised:
        ConnectionConfig.from_url(url, tls)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"port": 65_536}, id="port"),
        pytest.param({"port": -1}, id="negative port"),
        pytest.param({"host": ""}, id="no host"),
        pytest.param({"user": ""}, id="no user"),
        pytest.param({"vhost": ""}, id="no virtual host"),
        pytest.param({"tls": Tls(key=Path("k"))}, id="a key alone"),
    ],
)
def test_fields_that_no_broker_has(fields: dict[str, object]) -> None:
    with pytest.raises(BadSetting):
        ConnectionConfig(**fields)  # type: ignore[arg-type]


def test_the_password_is_not_shown() -> None:
    config = ConnectionConfig("u", "hush")
    assert "hush" not in f"{config!r} {config} {config.broker()!r}"


def folder_of(folder: Path, keys: dict[str, str]) -> Path:
    for key, value in keys.items():
        (folder / key).write_text(value + "\n")
    return folder


BROKER = {"host": "rabbit", "username": "u", "password": "p"}


@pytest.mark.parametrize(
    ("keys", "port", "vhost", "files"),
    [
        pytest.param({"port": "1", "vhost": "v"}, 1, "v", None, id="all"),
        pytest.param({}, 5672, "/", None, id="defaults"),
        pytest.param({"ca.crt": "x"}, 5671, "/", ("ca.crt", None, None, None), id="a CA"),
        pytest.param({"tls": "true", "server-name": "n"}, 5671, "/", (None, None, None, "n"), id="the system's CAs"),
        pytest.param({"tls": "false", "ca.crt": "x"}, 5672, "/", None, id="a CA, and no TLS"),
        pytest.param(
            {"ca.crt": "x", "tls.crt": "x", "tls.key": "x"},
            5671,
            "/",
            ("ca.crt", "tls.crt", "tls.key", None),
            id="ours",
        ),
    ],
)
def test_a_mounted_folder(
    tmp_path: Path, keys: dict[str, str], port: int, vhost: str, files: tuple[str | None, ...] | None
) -> None:
    config = ConnectionConfig.from_folder(folder_of(tmp_path, BROKER | keys))
    tls = None
    if files:
        tls = Tls(*(tmp_path / name if name else None for name in files[:3]), files[3])
    assert config.broker() == Broker("rabbit", port, "u", "p", vhost, tls)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        pytest.param({"password": ""}, "lacks password", id="no password"),
        pytest.param(BROKER | {"port": "amqp"}, "the key port in .* must be a whole number", id="no port"),
        pytest.param(BROKER | {"tls": "maybe"}, "must be true or false", id="maybe"),
        pytest.param(BROKER | {"tls.key": "x"}, "tls.key alone", id="a key alone"),
    ],
)
def test_a_folder_that_cannot_be_used(tmp_path: Path, keys: dict[str, str], says: str) -> None:
    with pytest.raises(MissingSetting, match=says):
        ConnectionConfig.from_folder(folder_of(tmp_path, BROKER | keys))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingSetting, match="lacks host, username, password"):
        ConnectionConfig.from_folder(tmp_path / "none")


@pytest.mark.parametrize(
    "tls", [Tls(Path("none")), Tls(certificate=Path("none"), key=Path("none"))], ids=["CA", "ours"]
)
def test_files_that_are_not_there_are_named(tls: Tls) -> None:
    with pytest.raises(BadSetting, match=r"none.* can't be used: No such file"):
        tls_context(tls)


def test_files_that_hold_something_else_are_named(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("garbage")
    with pytest.raises(BadSetting, match=r"ca\.crt can't be used"):
        tls_context(Tls(tmp_path / "ca.crt"))
