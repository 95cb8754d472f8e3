"""Make the installation's own Secrets where they are absent, and go by them before the kubelet has mounted them.

The operator may create Secrets and read none: one is there if its mount holds it, or if creating it is a conflict. The mounts
are optional, so that the operator starts before there is anything; the kubelet fills them within a minute or so, and then they
win: what is rotated is read anew. What was mounted or made is remembered, because the volumes of RabbitMQ and PostgreSQL know
only the password that they were made with: a Secret that somebody deletes is put back as it was, not drawn anew.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from leveret.settings import MissingSetting, keys_in
from leveret_operator.kubernetes_api import ApiGone, ApiRefused, KubernetesApi
from leveret_operator.own_secrets import Kind, OwnSecret, draw_keys, secret_manifest

log = structlog.get_logger(__name__)

EVERY, AGAIN = 10.0, 2.0  # s between looks, and where the API server did not answer
_FIX = "let the operator's account create Secrets in its namespace, or make the Secret, or name one of yours by existingSecret"


class Credentials:
    """What is mounted or was made of the Secrets in `folder`; those of `own` are made where they are absent."""

    def __init__(
        self, api: KubernetesApi, folder: Path, own: Mapping[Kind, OwnSecret], draw: Callable[[int], str]
    ) -> None:
        """`draw` makes a text of so many random bytes that is safe in URLs and shells."""
        self._api, self._folder, self._own, self._draw = api, folder, own, draw
        self._known: dict[str, dict[str, str]] = {}
        self._refused: dict[Kind, str] = {}
        self._away = False

    def keys(self, folder: Path) -> dict[str, str]:
        """Read a mounted Secret, as `keys_in` does; where nothing is mounted, return what is remembered of it.

        Raises MissingSetting for one of our own of which nothing is known yet. The installation's id is one: without it no
        virtual host would be claimed.
        """
        found = self._mounted(folder) or self._known.get(folder.name, {})
        for kind, secret in self._own.items():
            if not found and kind == folder.name:
                because = (
                    f"can't be made: {self._refused[kind]}; {_FIX}" if kind in self._refused else "is not mounted yet"
                )
                raise MissingSetting(f"the Secret {secret.name} {because}")
        return found

    async def run(self) -> None:
        """Look again until cancelled."""
        while True:
            await asyncio.sleep(AGAIN if self._away else EVERY)
            await self.make_absent()

    async def make_absent(self) -> None:
        """Make those that aren't mounted, as far as the API server answers."""
        try:
            for kind, secret in self._own.items():
                if self._is_absent(kind):
                    await self._make(kind, secret)
        except ApiGone as problem:
            if not self._away:
                log.warning("absent Secrets can't be made yet", because=str(problem))
            self._away = True
        else:
            self._away = False

    def _mounted(self, folder: Path) -> dict[str, str]:
        found = keys_in(folder)
        if found:
            self._known[folder.name] = found
        return found

    def _is_absent(self, kind: Kind) -> bool:
        try:
            return not self._mounted(self._folder / kind)
        except MissingSetting:  # it is there, and whoever needs it says what is wrong with it
            return False

    async def _make(self, kind: Kind, secret: OwnSecret) -> None:
        known = self._known.get(kind)
        keys = known or draw_keys(kind, secret, self._draw)
        try:
            await self._api.create_secret(secret_manifest(kind, secret.name, keys))
        except ApiRefused as problem:
            if problem.status == 409:
                self._refused.pop(kind, None)
            elif self._refused.get(kind) != str(problem):
                self._refused[kind] = str(problem)
                log.error("a Secret is absent and can't be made", secret=secret.name, because=str(problem), fix=_FIX)
            return
        self._known[kind] = keys
        self._refused.pop(kind, None)
        if known:
            log.warning("a Secret was gone and is put back as it was", secret=secret.name)
        else:
            log.info("a Secret was absent and is made", secret=secret.name)
