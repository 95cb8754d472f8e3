"""Base images: the official ones where an image registry answers, else built from Debian's packages alone."""

import concurrent.futures
import os

from . import debian, images
from .cache import HERE, key, work_dir
from .console import Fail, say
from .shell import Word, run
from .versions import BASES, FOR_TESTS

ALL = BASES | FOR_TESTS

OPTIONS = (
    "--variant=minbase",
    # A mirror may be a copy that is no longer renewed; what it holds is still signed. Not so for apt in the image.
    '--aptopt=Acquire::Check-Valid-Until "false"',
    '--customize-hook=rm "$1/etc/apt/apt.conf.d/99mmdebstrap"',
    "--skip=output/dev",  # containers get a /dev of their own, and not every Docker may make device files
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "info", "locale", "man")),
)
# bookworm merges /usr by a package that needs all of Perl, unless it is merged before.
OF_SUITE = {"bookworm": ("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",)}
# Beside the program: who signs Debian, and how to see whether this machine's apt knows that, for another distribution.
MMDEBSTRAP = ("mmdebstrap", "debian-archive-keyring", "gpg")


def debian_base(suite: str, packages: str, log: str) -> str:
    """Make an image that is a Debian root file system with some packages; gives its tag; raises Fail."""
    tag = f"leveret/debian:{suite}-{key(suite, packages)}"
    if images.image_key(tag) is not None:
        return tag
    if os.geteuid() != 0:
        raise Fail("a Debian root file system cannot be made here because this user is not root")
    debian.ensure("mmdebstrap", *MMDEBSTRAP, needed_for="mmdebstrap is missing")
    with work_dir() as work:
        archive, mirror = work / "root.tar", debian.mirror()
        argv: list[Word] = ["mmdebstrap", *OPTIONS, *OF_SUITE.get(suite, ()), f"--include={packages}", suite, archive]
        argv += [mirror] if mirror else []
        # The root is laid out there first: /tmp may be in memory, and apt's own user can't read below /root.
        env = os.environ | {"TMPDIR": os.environ.get("TMPDIR") or "/var/tmp"}
        run(f"mmdebstrap {suite} for {log}", argv, log=log, env=env)
        run("docker import", ["docker", "import", archive, tag], log=log, quiet=True)
    return tag


def provide(name: str, tag: str) -> None:
    """Have one base image: there already, pulled, or built; raises Fail."""
    base, context, log = ALL[name], HERE / "images" / name, f"image-{name}"
    label = key(base.suite, base.packages, context)
    have = images.image_key(tag)
    if have == label:
        say(f"{name}: {tag} is there")
    elif have == "":
        say(f"{name}: {tag} is there, and was not built by this kit: left as it is")
    elif have is None and tag == base.tag and name in BASES and images.pull(tag):
        say(f"{name}: {tag} is pulled")
    else:
        published = f"debian:{base.suite}-slim"
        pulled = name in FOR_TESTS and images.pull(published)
        upon = published if pulled else debian_base(base.suite, base.packages, log)
        images.build(context, tag, label, log, BASE=upon)
        say(f"{name}: {tag} is built")


def ensure(wanted: list[str]) -> None:
    """Have base images, two at a time, in a Docker that runs; `wanted` holds NAME or NAME=REPOSITORY:TAG; raises Fail."""
    tags = {}
    for word in wanted:
        name, _, tag = word.partition("=")
        if name not in ALL:
            raise Fail(f"no base image is called {name}: there are {', '.join(ALL)}")
        tags[name] = tag or ALL[name].tag
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(provide, name, tag) for name, tag in tags.items()]:
            done.result()
