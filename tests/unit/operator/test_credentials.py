"""The installation's own Secrets: made where they are absent, remembered, and put back as they were."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from structlog.testing import capture_logs

from leveret.settings import MissingSetting, Places
from leveret_operator.credentials import Credentials
from leveret_operator.kubernetes_api import ApiGone, ApiRefused, KubernetesApi
from leveret_operator.own_secrets import Kind, OwnSecret, draw_keys, read_own_secrets, secret_manifest

GIVEN = {"host": "leveret-rabbitmq", "port": "5672", "username": "leveret", "vhost": "/"}
OWN: dict[Kind, OwnSecret] = {
    "broker": OwnSecret("leveret-broker", GIVEN),
    "token": OwnSecret("leveret-token"),
    "installation": OwnSecret("leveret-installation"),
}


class Api:
    """Keeps the Secrets, and takes no second one of a name."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, str]] = {}
        self.fails: Exception | None = None
        self.asked = 0

    async def create_secret(self, manifest: Any) -> None:
        self.asked += 1
        if self.fails is not None:
            raise self.fails
        name = manifest["metadata"]["name"]
        if name in self.secrets:
            raise ApiRefused(409, "AlreadyExists", f'secrets "{name}" already exists')
        self.secrets[name] = manifest["stringData"]


class World:
    """An API server, what the kubelet has mounted, and an operator that begins anew as often as a test likes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.api, self.drawn = folder, Api(), 0

    def operator(self) -> Credentials:
        made: Any = self.api
        return Credentials(made, self.folder, OWN, self.draw)

    def draw(self, size: int) -> str:
        self.drawn += 1
        return f"{size}-bytes-draw-{self.drawn}"

    def mount(self) -> None:
        """As the kubelet does with an optional Secret: what is gone is gone from the folder, too."""
        for kind, secret in OWN.items():
            folder = self.folder / kind
            folder.mkdir(exist_ok=True)
            for path in folder.iterdir():
                path.unlink()
            for key, value in self.api.secrets.get(secret.name, {}).items():
                (folder / key).write_text(value)

    def places(self, credentials: Credentials) -> Places:
        return Places({}, self.folder, credentials.keys)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.mount()
    return world


async def test_absent_ones_are_made_and_used_from_memory_until_they_are_mounted(world: World) -> None:
    operator = world.operator()
    with pytest.raises(MissingSetting, match="the Secret leveret-broker is not mounted yet"):
        world.places(operator).broker()
    await operator.make_absent()
    assert set(world.api.secrets) == {"leveret-broker", "leveret-token", "leveret-installation"}
    assert world.api.secrets["leveret-broker"] == {**GIVEN, "password": "32-bytes-draw-1"}
    assert world.places(operator).broker().password == "32-bytes-draw-1"
    world.mount()
    world.api.secrets["leveret-broker"]["password"] = "rotated"
    world.mount()
    assert world.places(operator).broker().password == "rotated"


async def test_what_is_mounted_is_not_asked_about(world: World) -> None:
    await world.operator().make_absent()
    world.mount()
    world.api.asked = 0
    operator = world.operator()
    await operator.make_absent()
    assert (world.api.asked, world.places(operator).broker().password) == (0, "32-bytes-draw-1")


async def test_one_that_is_there_and_not_yet_mounted_is_left_alone(world: World) -> None:
    world.api.secrets["leveret-broker"] = {**GIVEN, "password": "theirs"}
    operator = world.operator()
    with capture_logs() as logs:
        await operator.make_absent()
    assert "theirs" in world.api.secrets["leveret-broker"].values()
    assert [line["secret"] for line in logs] == ["leveret-token", "leveret-installation"]
    with pytest.raises(MissingSetting):  # nor is it guessed what is in it
        world.places(operator).broker()
    world.mount()
    assert world.places(operator).broker().password == "theirs"


@pytest.mark.parametrize("seen", ["made", "mounted"])
async def test_a_deleted_one_is_put_back_as_it_was(world: World, seen: str) -> None:
    operator = world.operator()
    await operator.make_absent()
    world.mount()
    if seen == "mounted":
        operator = world.operator()
        world.api.secrets["leveret-token"]["token"] = "rotated"
        world.mount()
        await operator.make_absent()
    before = {name: dict(keys) for name, keys in world.api.secrets.items()}
    world.api.secrets.clear()
    world.mount()
    assert world.places(operator).broker().password == before["leveret-broker"]["password"]
    with capture_logs() as logs:
        await operator.make_absent()
    assert world.api.secrets == before
    assert {line["event"] for line in logs} == {"a Secret was gone and is put back as it was"}


async def test_an_api_server_that_is_away_is_asked_again(world: World) -> None:
    operator = world.operator()
    world.api.fails = ApiGone("it answered 503")
    with capture_logs() as logs:
        await operator.make_absent()
        await operator.make_absent()
    assert [line["because"] for line in logs] == ["it answered 503"]
    world.api.fails = None
    await operator.make_absent()
    assert len(world.api.secrets) == 3


async def test_a_missing_right_is_told_once_with_what_to_do(world: World) -> None:
    operator = world.operator()
    world.api.fails = ApiRefused(403, "Forbidden", "secrets is forbidden")
    with capture_logs() as logs:
        for _ in range(2):
            await operator.make_absent()
    assert [line["secret"] for line in logs] == [secret.name for secret in OWN.values()]
    assert {line["because"] for line in logs} == {"secrets is forbidden"}
    assert all("create Secrets" in line["fix"] and "existingSecret" in line["fix"] for line in logs)
    with pytest.raises(MissingSetting, match="leveret-broker can't be made: secrets is forbidden; let the operator's"):
        world.places(operator).broker()


async def test_no_broker_is_connected_to_without_the_installations_id(world: World) -> None:
    operator = world.operator()
    await operator.make_absent()
    assert world.places(operator).broker().installation == world.api.secrets["leveret-installation"]["id"]
    world.mount()
    del world.api.secrets["leveret-installation"]
    world.mount()
    with pytest.raises(MissingSetting, match="the Secret leveret-installation is not mounted yet"):
        world.places(world.operator()).broker()


async def test_one_that_cannot_be_read_is_there(world: World) -> None:
    (world.folder / "broker" / "host").write_bytes(b"\xff")
    operator = world.operator()
    await operator.make_absent()
    assert "leveret-broker" not in world.api.secrets


async def test_it_asks_kubernetes_to_create_and_nothing_else(tmp_path: Path) -> None:
    asked, written = list[tuple[str, str, Any]](), list[str]()

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        asked.append((request.method, request.path, body))
        status = 409 if len(asked) == 1 else 201
        return web.json_response({"reason": "AlreadyExists"} if status == 409 else body, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration()
    configuration.host = "http://{}:{}".format(*runner.addresses[0])
    api = KubernetesApi(ApiClient(configuration), "shop", written.append, lambda: 12.0)
    try:
        await Credentials(api, tmp_path, OWN, lambda size: "drawn").make_absent()
    finally:
        await api.close()
        await runner.cleanup()
    assert {(method, path) for method, path, _ in asked} == {("POST", "/api/v1/namespaces/shop/secrets")}
    assert [body["metadata"]["name"] for _, _, body in asked] == [secret.name for secret in OWN.values()]
    assert asked[0][2]["stringData"] == {**GIVEN, "password": "drawn"}
    assert written == ["secret", "secret"]  # not the one that was there


def test_what_the_chart_tells() -> None:
    text = '{"broker": {"name": "b", "given": {"host": "h"}}, "token": {"name": "t"}}'
    assert read_own_secrets(text) == {"broker": OwnSecret("b", {"host": "h"}), "token": OwnSecret("t")}
    assert read_own_secrets("") == {}


@pytest.mark.parametrize("text", ["{", '{"token": {}}', '{"other": {"name": "n"}}', '{"token": {"name": 1}}'])
def test_what_it_does_not_tell(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_own_secrets(text)


def test_an_id_is_short() -> None:
    assert draw_keys("installation", OwnSecret("i"), lambda size: "x" * 2 * size) == {"id": "x" * 32}


def test_what_kubernetes_is_sent(world: World) -> None:
    sent: Any = secret_manifest("broker", "leveret-broker", {"password": "p"})
    assert (sent["kind"], sent["type"], sent["stringData"]) == ("Secret", "Opaque", {"password": "p"})
    assert sent["metadata"]["labels"]["app.kubernetes.io/component"] == "rabbitmq"
    # By this label older versions of Argo CD tell what an application has, and remove what its source doesn't hold.
    assert "app.kubernetes.io/instance" not in sent["metadata"]["labels"]
    assert "ownerReferences" not in sent["metadata"]
