"""Base images: the official ones where an image registry answers, else built from Debian's packages alone."""

import concurrent.futures
import os
from pathlib import Path

from . import debian, images
from .cache import HERE, key, work_dir
from .console import Fail, say
from .shell import Word, run
from .versions import BASES

WASTE = (
    "dev", "proc", "sys", "tmp", "var/cache/apt", "var/lib/apt/lists",
    "usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man",
)  # fmt: skip


def debian_base(suite: str, packages: str, log: str) -> str:
    """Make an image that is a Debian root file system with some packages; gives its tag; raises Fail."""
    tag = f"leveret/debian:{suite}-{key(suite, packages)}"
    if images.image_key(tag) is not None:
        return tag
    if os.geteuid() != 0:
        raise Fail("a Debian root file system cannot be made here because this user is not root")
    debian.ensure("debootstrap", "debootstrap", needed_for="debootstrap is missing")
    scripts = Path(os.environ.get("DEBOOTSTRAP_DIR", "/usr/share/debootstrap")) / "scripts"
    with work_dir() as work:
        root, archive = work / "root", work / "root.tar"
        argv: list[Word] = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, root]
        argv.append(debian.mirror() or "")
        if not (scripts / suite).exists():  # a suite newer than this debootstrap goes as sid does
            argv.append(scripts / "sid")
        run(f"debootstrap {suite} for {log}", argv, log=log)
        skip = [f"--exclude=./{folder}/*" for folder in WASTE]
        run("packing", ["tar", "-C", root, "--numeric-owner", *skip, "-cf", archive, "."], log=log, quiet=True)
        run("docker import", ["docker", "import", archive, tag], log=log, quiet=True)
    return tag


def provide(name: str, tag: str) -> None:
    """Have one base image: there already, pulled, or built; raises Fail."""
    base, context, log = BASES[name], HERE / "images" / name, f"image-{name}"
    label = key(base.suite, base.packages, context)
    have = images.image_key(tag)
    if have == label:
        say(f"{name}: {tag} is there")
    elif have == "":
        say(f"{name}: {tag} is there, and was not built by this kit: left as it is")
    elif have is None and tag == base.tag and images.pull(tag):
        say(f"{name}: {tag} is pulled")
    else:
        images.build(context, tag, label, log, BASE=debian_base(base.suite, base.packages, log))
        say(f"{name}: {tag} is built")


def ensure(wanted: list[str]) -> None:
    """Have base images, two at a time, in a Docker that runs; `wanted` holds NAME or NAME=REPOSITORY:TAG; raises Fail."""
    tags = {}
    for word in wanted:
        name, _, tag = word.partition("=")
        if name not in BASES:
            raise Fail(f"no base image is called {name}: there are {', '.join(BASES)}")
        tags[name] = tag or BASES[name].tag
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(provide, name, tag) for name, tag in tags.items()]:
            done.result()
