"""Images in Docker: what an image was built from, building with either builder, and pulling where that works.

Every image that this kit builds carries a key of its sources as a label: with the same key nothing is done.
"""

import functools
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .cache import CACHE
from .console import Fail, say
from .shell import output, run, version, works

LABEL = "leveret.cluster.key"
CLOSED = CACHE / "no-image-registry"  # touched when none answered, believed for a while by the next verbs
CLOSED_SECONDS = 600.0


def image_key(tag: str) -> str | None:
    """Give the key an image was built under; '' where not by this kit, None where there is no such image."""
    form = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    done = subprocess.run(["docker", "image", "inspect", "-f", form, tag], text=True, capture_output=True, check=False)
    return None if done.returncode else done.stdout.strip().replace("<no value>", "")


def image_id(tag: str) -> str:
    """Give the digest of an image's configuration, 'sha256:…'; raises Fail."""
    return output("docker", "image", "inspect", "-f", "{{.Id}}", tag)


def build(context: Path, tag: str, label: str, log: str, **build_args: str) -> None:
    """Build an image whose base is in this Docker only; any builder does."""
    argv = ["docker", "build", "--force-rm", "-t", tag, "--label", f"{LABEL}={label}"]
    argv += [word for name, value in build_args.items() for word in ("--build-arg", f"{name}={value}")]
    run(f"docker build {tag}", [*argv, context], log=log, env=os.environ | {"BUILDX_BUILDER": "default"})


@functools.cache
def buildkit_client() -> str:
    """Find a docker client that builds with BuildKit: up to version 22 by itself, later with buildx; raises Fail."""
    for found in dict.fromkeys([shutil.which("docker"), "/usr/bin/docker", "/usr/local/bin/docker"]):
        if found and Path(found).exists():
            client = version(output(found, "version", "--format", "{{.Client.Version}}", check=False))
            if (0, 0) < client < (23, 0) or works(found, "buildx", "version"):
                return found
    raise Fail("docker here builds without BuildKit: install its buildx plugin (on Debian: docker.io or docker-buildx)")


def build_with_secrets(argv: Sequence[str | Path], secrets: Mapping[str, Path], *, step: str, log: str) -> None:
    """Build with BuildKit, which can lend files to a step without keeping them in the image."""
    lent = [word for name, path in secrets.items() for word in ("--secret", f"id={name},src={path}")]
    env = os.environ | {"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain", "BUILDX_BUILDER": "default"}
    run(step, [buildkit_client(), "build", "--network", "host", *lent, *argv], log=log, env=env)


def pull(image: str) -> bool:
    """Pull an image unless a registry is known not to answer; says whether the image is here now."""
    if CLOSED.exists() and time.time() - CLOSED.stat().st_mtime < CLOSED_SECONDS:
        return False
    if pull_if_answered(image):
        CLOSED.unlink(missing_ok=True)
        return True
    CLOSED.parent.mkdir(parents=True, exist_ok=True)
    CLOSED.touch()
    return False


def pull_if_answered(image: str, seconds: float = 20) -> bool:
    """Pull an image if a registry begins to answer in time; says whether it did."""
    say(f"asking for {image}")
    with subprocess.Popen(["docker", "pull", image], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        os.set_blocking(process.stdout.fileno(), False)
        end, answered = time.monotonic() + seconds, False
        while process.poll() is None:
            answered = bool(process.stdout.read()) or answered
            if not answered and time.monotonic() > end:
                process.kill()
            time.sleep(0.1)
    if process.returncode:
        say("no image registry answers")
    return process.returncode == 0
