"""The kind node image: the published one where it can run, else one built from Go modules and Debian's packages."""

import concurrent.futures
import os
import shutil
from pathlib import Path

from . import docker, images
from .bases import debian_base
from .cache import HERE, key, work_dir
from .console import Fail, say
from .golang import go_module
from .node_files import node_tree, write_node_images
from .node_programs import VERSIONS, binaries
from .shell import output, run, until, works
from .versions import KIND, KINDEST_NODE, KUBERNETES, NODE_PACKAGES, NODE_SUITE


def image_key() -> str:
    """Hash everything that the node image is made from."""
    return key(*VERSIONS, KIND, NODE_SUITE, NODE_PACKAGES, HERE / "go", HERE / "node", HERE / "runc-wrap.sh")


def image_tag() -> str:
    """Name the node image that this kit builds."""
    return f"leveret/node:v{KUBERNETES}-{image_key()}"


def choose(*, several_nodes: bool = False) -> str:
    """Have a node image, and give its tag: the built one if it is there or nothing else can run; raises Fail."""
    if not several_nodes and images.image_key(image_tag()) is not None:
        say(f"node image: {image_tag()} is there")
        return image_tag()
    if docker.cgroup_v1() or not docker.bounding_set_is_full():
        say("the published node image cannot run here (version 1 control groups, or capabilities missing)")
    elif images.image_key(KINDEST_NODE) is not None or images.pull(KINDEST_NODE):
        return KINDEST_NODE
    if several_nodes:
        raise Fail("a cluster of several nodes needs the published node image, which cannot be used here")
    return build()


def build() -> str:
    """Build the node image unless it is there; gives its tag; raises Fail."""
    tag, label = image_tag(), image_key()
    if images.image_key(tag) == label:
        say(f"node image: {tag} is there")
        return tag
    say(f"node image: building {tag}")
    with work_dir() as work, concurrent.futures.ThreadPoolExecutor() as pool:
        # mmdebstrap mostly waits for downloads and disk, the compiler for neither.
        debian_made = pool.submit(debian_base, NODE_SUITE, NODE_PACKAGES, "node-image")
        bin_dir = binaries()
        kind_source = go_module("sigs.k8s.io/kind", f"v{KIND}")[1]
        debian = debian_made.result()
        say("node image: packing the control plane's images")
        archive, pause = write_node_images(bin_dir, debian, kind_source, work)
        context = work / "context"
        node_tree(bin_dir, kind_source, context / "tree")
        shutil.copy(HERE / "node/Dockerfile", context)
        stage = f"leveret/node-stage:{label}"
        images.build(context, stage, label, "node-image", ROOTFS=debian, PAUSE=pause)
        import_into_node(archive, stage, tag)
    say(f"node image: {tag} is built")
    return tag


def import_into_node(archive: Path, stage: str, tag: str) -> None:
    """Put images into the stage's own containerd, and commit that as the tag; raises Fail."""
    name = f"leveret-node-build-{os.getpid()}"
    ctr = ["docker", "exec", "-i", name, "ctr", "-n", "k8s.io"]
    flags = ["--label=io.cri-containerd.pinned=pinned", "--all-platforms", "--no-unpack", "--digests"]
    start = ["docker", "run", "-d", "--name", name, "--privileged", "--entrypoint", "containerd", stage]
    run("node image: starting its containerd", start, log="node-image")
    try:
        until("containerd in the node image", lambda: works(*ctr, "version"), 30)
        with archive.open("rb") as tar:
            step = "node image: importing the control plane's images"
            run(step, [*ctr, "images", "import", *flags, "-"], log="node-image", stdin=tar)
        output("docker", "kill", "--signal", "TERM", name)  # the image's own stop signal is systemd's
        output("docker", "wait", name)
        entry = 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]'
        argv = ["docker", "commit", "--change", entry, "--change", "CMD []", name, tag]
        run("node image: committing", argv, log="node-image")
    finally:
        works("docker", "rm", "-f", "-v", name)
        works("docker", "rmi", stage)
