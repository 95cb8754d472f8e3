"""Images of the release before, for the upgrade that is tried: its wheel in place of today's, over today's dependencies.

A release keeps its wheel and its chart in tests/upgrade. Each image is one small layer over today's of the same service,
so that a cluster that has that one is given little more.
"""

import concurrent.futures
from pathlib import Path

from . import images, pip_settings, project
from .cache import REPOSITORY, key, work_dir
from .console import say

FOLDER = REPOSITORY / "tests/upgrade"
SERVICES = ("operator", "producer", "consumer")


def tag(service: str) -> str:
    """Name an image of the release before, by the version of the chart that is kept."""
    (chart,) = FOLDER.glob("leveret-*.tgz")
    return f"leveret/{service}:{chart.stem.removeprefix('leveret-')}"


def tags() -> list[str]:
    """List what the chart of the release before runs of ours, and what its JobQueues do."""
    return [tag(service) for service in SERVICES]


def ensure() -> None:
    """Have the images, built where they are stale; raises Fail."""
    project.ensure(list(SERVICES))
    with work_dir() as work, concurrent.futures.ThreadPoolExecutor(len(SERVICES)) as pool:
        secrets = pip_settings.secrets(work)
        for done in [pool.submit(_provide, service, secrets) for service in SERVICES]:
            done.result()


def _provide(service: str, secrets: dict[str, Path]) -> None:
    base, name = project.tag(service), tag(service)
    label = key(images.image_id(base), FOLDER / "Dockerfile", FOLDER / "requirements", *FOLDER.glob("*.whl"))
    if images.image_key(name) == label:
        say(f"{service}: {name} is there")
        return
    argv: list[str | Path] = ["-t", name, "--build-arg", f"BASE={base}", "--build-arg", f"SERVICE={service}"]
    argv += ["--label", f"{images.LABEL}={label}", FOLDER]
    images.build_with_secrets(argv, secrets, step=f"docker build {name}", log=f"image-older-{service}")
    say(f"{service}: {name} is built")
