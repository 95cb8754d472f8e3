"""Base images: the official ones where an image registry answers, else built from Debian's packages alone."""

import concurrent.futures
import os

from . import debian, images
from .cache import HERE, key, work_dir
from .console import Fail, say
from .shell import Word, run
from .versions import BASES

NOT_NEEDED = ("doc", "info", "locale", "man")  # of /usr/share
# A mirror may be a copy that is no longer renewed; what it holds is still signed.
OLD_MIRROR = 'Acquire::Check-Valid-Until "false"'


def debian_base(suite: str, packages: str, log: str) -> str:
    """Make an image that is a Debian root file system with some packages; gives its tag; raises Fail."""
    tag = f"leveret/debian:{suite}-{key(suite, packages)}"
    if images.image_key(tag) is not None:
        return tag
    if os.geteuid() != 0:
        raise Fail("a Debian root file system cannot be made here because this user is not root")
    debian.ensure("mmdebstrap", "mmdebstrap", needed_for="mmdebstrap is missing")
    with work_dir() as work:
        archive = work / "root.tar"
        argv: list[Word] = ["mmdebstrap", "--variant=minbase", f"--include={packages}", f"--aptopt={OLD_MIRROR}"]
        argv += [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in NOT_NEEDED]
        argv += [suite, archive, *([mirror] if (mirror := debian.mirror()) else [])]
        run(f"mmdebstrap {suite} for {log}", argv, log=log)
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
