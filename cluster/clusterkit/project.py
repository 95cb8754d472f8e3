"""The project's own images, leveret/{operator,producer,consumer,examples}, made by images/Dockerfile.

An image is built again only when what goes into it has changed: its base, its locked requirements, or the code.
"""

import concurrent.futures
import tomllib
from collections.abc import Iterator
from pathlib import Path

from . import bases, images, pip_settings
from .cache import REPOSITORY, key, work_dir
from .console import say
from .shell import works
from .versions import BASES

SERVICES = ("operator", "producer", "consumer", "examples")
CODE = ("leveret", "operator", "producer", "consumer")  # one wheel holds them all


def project_version(repository: Path = REPOSITORY) -> str:
    """Read the version that images are tagged with."""
    with (repository / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def tag(service: str) -> str:
    """Name one of our images."""
    return f"leveret/{service}:{project_version()}"


def sources(service: str, repository: Path = REPOSITORY) -> Iterator[Path]:
    """List the files whose change makes an image of a service stale (texts that only describe it do not)."""
    folders = (*CODE, "examples") if service == "examples" else CODE
    yield repository / "pyproject.toml"
    yield repository / "requirements/build.txt"
    yield repository / f"requirements/{service}.txt"
    yield from sorted((repository / "images").iterdir())
    for folder in folders:
        found = (path for path in (repository / folder).rglob("*") if path.is_file())
        yield from sorted(path for path in found if "__pycache__" not in path.parts)


def source_key(service: str, base: str, repository: Path = REPOSITORY) -> str:
    """Hash what an image of a service is made from, the digest of its base included."""
    parts: list[str | Path] = [base]
    for path in sources(service, repository):
        parts += [str(path.relative_to(repository)), path]
    return key(*parts)


def ensure(services: list[str]) -> None:
    """Have images of the named services, built where they are stale; raises Fail."""
    base = BASES["python"].tag
    if images.image_key(base) is None:
        bases.ensure(["python"])
    digest = images.image_id(base)
    stale = {service: label for service in services if (label := _stale(service, digest))}
    if not stale:
        return
    with work_dir() as work, concurrent.futures.ThreadPoolExecutor(len(stale)) as pool:
        secrets = pip_settings.secrets(work)
        for done in [pool.submit(_build, service, label, secrets) for service, label in stale.items()]:
            done.result()
    works("docker", "image", "prune", "-f", "--filter", f"label={images.LABEL}")  # the builds these replaced


def _stale(service: str, base: str) -> str | None:
    label = source_key(service, base)
    if images.image_key(tag(service)) == label:
        say(f"{service}: {tag(service)} is there")
        return None
    return label


def _build(service: str, label: str, secrets: dict[str, Path]) -> None:
    argv: list[str | Path] = ["-f", REPOSITORY / "images/Dockerfile", "--target", service, "-t", tag(service)]
    argv += ["--build-arg", f"SERVICE={service}", "--build-arg", f"BASE={BASES['python'].tag}"]
    argv += ["--label", f"{images.LABEL}={label}", "--label", f"org.opencontainers.image.version={project_version()}"]
    argv += ["--label", f"org.opencontainers.image.title=Leveret {service}"]
    argv += ["--label", "org.opencontainers.image.licenses=Apache-2.0", REPOSITORY]
    images.build_with_secrets(argv, secrets, step=f"docker build {tag(service)}", log=f"image-{service}")
    say(f"{service}: {tag(service)} is built")
