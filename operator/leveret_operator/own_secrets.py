"""The Secrets that an installation has of its own: what is in them, and what Kubernetes is sent.

The chart tells their names and all that isn't secret; one key of each is drawn here, in the cluster, and once. So rendering the
chart draws nothing, and renders the same every time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from leveret_operator.jobqueue import Json

Kind = Literal["broker", "database", "token", "installation"]  # also the folder that it is mounted at
# The key that is drawn, and of how many bytes; an id is to be short.
_DRAWN: Mapping[Kind, tuple[str, int]] = {
    "broker": ("password", 32),
    "database": ("password", 32),
    "token": ("token", 32),
    "installation": ("id", 16),
}
_COMPONENT = {"broker": "rabbitmq", "database": "postgresql", "token": "producer", "installation": "operator"}


@dataclass(frozen=True, slots=True)
class OwnSecret:
    name: str
    given: dict[str, str] = field(default_factory=dict)  # its other keys


def read_own_secrets(text: str) -> dict[Kind, OwnSecret]:
    """Read `{"broker": {"name": …, "given": {"host": …}}, …}`; raise ValueError."""
    return msgspec.json.decode(text or "{}", type=dict[Kind, OwnSecret])


def draw_keys(kind: Kind, secret: OwnSecret, draw: Callable[[int], str]) -> dict[str, str]:
    """Return what is in a new one; `draw` makes a random text of so many bytes."""
    key, size = _DRAWN[kind]
    return {**secret.given, key: draw(size)}


def secret_manifest(kind: Kind, name: str, keys: Mapping[str, str]) -> Json:
    """Return what creates it.

    No owner: it stays with the volumes that know its password when all else goes. Nor the label `instance`: by that older
    versions of Argo CD tell what an application has, and remove what its source doesn't hold.
    """
    labels = {
        "app.kubernetes.io/name": "leveret",
        "app.kubernetes.io/component": _COMPONENT[kind],
        "app.kubernetes.io/managed-by": "leveret-operator",
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels},
        "type": "Opaque",
        "stringData": dict(keys),
    }
