"""The command line of kit.py: one verb a run; a problem is one sentence and exit code 1."""

import argparse
import concurrent.futures
import sys
from pathlib import Path

from . import bases, clusters, debian, docker, doctor, loading, node, older, project, tools
from .cache import only_one
from .console import Fail
from .versions import BASES, FOR_TESTS

OLDER = "older"  # those of the release before, which only the tests run
PURPOSE = "A real kind cluster and its images, on a Debian machine that may have neither Docker nor an image registry."


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="kit.py", description=PURPOSE)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("doctor", help="say what is there and what would be installed; change nothing")
    verbs.add_parser("tools", help="kind, kubectl and helm: on PATH, or else fetched")
    verbs.add_parser("docker", help="install Docker if need be, and start it")
    verbs.add_parser("undo", help="give Docker the default runtime back that it had before the kit")
    packages = verbs.add_parser("packages", help="install Debian packages whose program is missing")
    packages.add_argument("package", nargs="+", metavar="PACKAGE")
    verbs.add_parser("node-image", help="pull or build the node image, and print its tag")
    images = verbs.add_parser(
        "images", help="pull or build images: " + ", ".join([*BASES, *FOR_TESTS, *project.SERVICES, OLDER])
    )
    images.add_argument(
        "image", nargs="*", metavar="NAME[=REPOSITORY:TAG]", help="all of them and a node image if none is named"
    )
    up = verbs.add_parser("up", help="create the cluster, or start it again")
    up.add_argument("--config", type=Path, metavar="FILE", help="a configuration file for kind")
    up.add_argument("--port-offset", type=int, default=0, metavar="N", help="what is added to its host ports")
    up.add_argument("--image", help="this node image instead of the kit's choice")
    load = verbs.add_parser("load", help="load images from Docker into the cluster")
    load.add_argument(
        "image", nargs="*", metavar="IMAGE", help="all that the chart and the examples run if none is named"
    )
    load.add_argument("--older", action="store_true", help="and what the release before runs")
    load.add_argument("--restart", metavar="NAMESPACE", help="restart its Deployments that run a replaced image")
    down = verbs.add_parser("down", help="delete the cluster")
    for verb in (up, load, down):
        verb.add_argument("--name", default="leveret", help="the cluster's name (default: %(default)s)")
    return parser.parse_args()


def have_images(words: list[str]) -> None:
    """Have base images and the project's own; if none is named all of them and a node image; raises Fail."""
    if not words:
        docker.ensure()  # before the threads, which both ask for it
        tools.ensure()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            # One compiles and the other unpacks packages: together they keep two cores busy, once for minutes.
            done = pool.submit(have_images, [*BASES, *project.SERVICES])
            node.choose()
            done.result()
        tools.say_path()  # what comes next by hand is `kind create cluster`
        return
    ours = [word for word in words if word in project.SERVICES]
    others = [word for word in words if word not in (*project.SERVICES, OLDER)]
    docker.ensure()
    if others:
        bases.ensure(others)
    if ours:
        project.ensure(ours)
    if OLDER in words:
        older.ensure()


def run(args: argparse.Namespace) -> None:
    """Carry out one verb; raises Fail."""
    match args.verb:
        case "tools":
            tools.ensure()
            tools.say_path()
        case "docker":
            docker.ensure()
        case "undo":
            docker.undo()
        case "packages":
            debian.ensure_packages(args.package)
        case "node-image":
            docker.ensure()
            print(node.choose())
        case "images":
            have_images(args.image)
        case "up":
            clusters.up(clusters.Wanted(args.name, args.config, args.port_offset, args.image))
        case "load":
            wanted = [*(args.image or loading.default_images()), *(older.tags() if args.older else ())]
            loading.load(args.name, wanted, args.restart)
        case "down":
            clusters.down(args.name)


def main() -> None:
    """Do what the command line asks; a problem is one sentence and exit code 1."""
    args = arguments()
    try:
        if args.verb == "doctor":
            doctor.report()
            return
        with only_one():
            run(args)
    except Fail as problem:
        sys.exit(f"kit.py: {problem}")
    except KeyboardInterrupt:
        sys.exit("kit.py: stopped")
    except OSError as problem:
        sys.exit(f"kit.py: {problem.filename or 'the system'}: {problem.strerror}")
