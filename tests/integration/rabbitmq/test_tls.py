"""A real listener for TLS with a CA of the test's own: a client believes it, and only it, and calls over it."""

from dataclasses import replace
from pathlib import Path

import pytest
from aio_pika.abc import AbstractIncomingMessage
from containers import Server
from tls import Authority, listen

from leveret.client.rpc import BadSetting, ConnectionConfig, Disconnected, Rpc, Style, Tls
from leveret.jobs import State
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.declare import declare
from leveret.reply import reply
from leveret.settings import Broker
from leveret.topology import shared


@pytest.fixture(scope="module")
def authority(rabbitmq: Server, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("tls") / "ours")
    made.sign("server", "IP:127.0.0.1,DNS:rabbit.example")
    made.sign("client", "DNS:shop")
    listen(rabbitmq, made)
    return made


@pytest.fixture
def secure(rabbitmq: Server, authority: Authority, broker: Broker) -> Broker:
    return replace(broker, port=rabbitmq.ports[5671], tls=Tls(authority.path("ca.crt")))


def config_of(broker: Broker, tls: Tls | None = None) -> ConnectionConfig:
    return ConnectionConfig.from_url(broker.url(), tls or broker.tls)


async def test_calls_over_tls_with_the_settings_of_a_mounted_folder(
    authority: Authority, secure: Broker, tmp_path: Path
) -> None:
    """The whole way out and back, though nobody runs the job: it is answered for in the place of a consumer."""
    keys = {"host": "127.0.0.1", "port": str(secure.port), "username": secure.username, "password": secure.password}
    for key, text in (keys | {"vhost": secure.vhost, "server-name": "rabbit.example"}).items():
        (tmp_path / key).write_text(text)
    for key, name in {"ca.crt": "ca.crt", "tls.crt": "client.crt", "tls.key": "client.key"}.items():
        (tmp_path / key).write_text(authority.path(name).read_text())
    async with await open_connection(secure, "test") as connection, connection.channel() as channel:
        await declare(channel, shared())
        unroutable = await channel.get_queue("leveret.unroutable", ensure=False)

        async def answer(job: AbstractIncomingMessage) -> None:
            assert job.reply_to
            answered = reply(State.SUCCEEDED, job.correlation_id, job.body)
            await channel.default_exchange.publish(answered, job.reply_to)

        await unroutable.consume(answer, no_ack=True)
        for style in (Style.DIRECT, Style.EXCLUSIVE):
            async with await Rpc.connect(ConnectionConfig.from_folder(tmp_path), style) as rpc:
                assert (await rpc.call("leveret.none", "echo", {"value": "ä"}, 10)).result == {"value": "ä"}


@pytest.mark.parametrize(
    ("tls", "says"),
    [
        pytest.param({}, "CERTIFICATE_VERIFY_FAILED", id="the system's CAs"),
        pytest.param({"ca": "other.crt"}, "CERTIFICATE_VERIFY_FAILED", id="another CA"),
        pytest.param(
            {"ca": "ca.crt", "server_name": "other.example"}, "not valid for 'other.example'", id="another name"
        ),
    ],
)
async def test_who_cannot_be_believed_is_not_told_the_password(
    authority: Authority, secure: Broker, tmp_path: Path, tls: dict[str, str], says: str
) -> None:
    other = Authority(tmp_path / "other")
    other.path("ca.crt").rename(authority.path("other.crt"))
    given = {key: authority.path(value) if key == "ca" else value for key, value in tls.items()}
    with pytest.raises(Disconnected, match=says):
        await Rpc.connect(config_of(secure, Tls(**given)), within=0.5)  # type: ignore[arg-type]


async def test_a_ca_that_is_not_there_is_told_at_once(secure: Broker, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"none\.crt can't be used: No such file"):
        await Rpc.connect(config_of(secure, Tls(tmp_path / "none.crt")))


async def test_a_listener_without_tls_is_a_sentence(rabbitmq: Server, secure: Broker) -> None:
    with pytest.raises(Disconnected, match="no connection to the broker"):
        await Rpc.connect(config_of(replace(secure, port=rabbitmq.ports[5672])), within=0.5)
