"""What the node image has over its Debian packages: kind's own files, our programs, the control plane's images."""

import re
import shutil
import tarfile
from pathlib import Path

from .cache import HERE
from .console import Fail
from .image_archive import Image, as_root, write_images
from .node_programs import CONTAINERD_PROGRAMS
from .shell import output
from .versions import COREDNS, ETCD, KUBERNETES


def storage_manifest(kind_source: Path) -> tuple[str, str, str]:
    """Read kind's manifest of the `standard` storage class, and the two images it names."""
    text = (kind_source / "pkg/build/nodeimage/const_storage.go").read_text()
    images = dict(re.findall(r'const (\w+Image) = "([^"]+)"', text))
    manifest = text.split("const defaultStorageManifest = `", 1)[1].rstrip().removesuffix("`")
    manifest = re.sub(r"` \+ (\w+) \+ `", lambda found: images[found[1]], manifest)
    return manifest, images["storageProvisionerImage"], images["storageHelperImage"]


def control_plane_images(bin_dir: Path) -> dict[str, str]:
    """Ask kubeadm for the images it wants: {short name: image}; raises Fail."""
    listed = output(bin_dir / "kubeadm", "config", "images", "list", f"--kubernetes-version=v{KUBERNETES}")
    names = {line.rsplit("/", 1)[1].split(":")[0]: line for line in listed.split()}
    for short, built in (("etcd", ETCD), ("coredns", COREDNS)):
        if not names[short].split(":")[-1].lstrip("v").startswith(built):
            raise Fail(f"kubeadm wants {names[short]}, not {short} {built}: change clusterkit/versions.py")
    return names


def write_node_images(bin_dir: Path, debian: str, kind_source: Path, work: Path) -> tuple[Path, str]:
    """Write the archive of all images that a new cluster starts from; gives it and pause's name."""
    layers = {"debian": work / "debian.layer"}
    container = output("docker", "create", debian, "true")
    output("docker", "export", "-o", layers["debian"], container)
    output("docker", "rm", container)
    names = control_plane_images(bin_dir)
    _, provisioner, helper = storage_manifest(kind_source)
    images = {helper: Image(["debian"], {"Cmd": ["/bin/sh"]})}
    for program, image in [*names.items(), ("local-path-provisioner", provisioner)]:
        layers[program] = work / f"{program}.layer"
        with tarfile.open(layers[program], "w") as tar:
            tar.add(bin_dir / program, f"usr/local/bin/{program}", filter=as_root)
        base = ["debian"] if program == "kube-proxy" else []  # it calls iptables and conntrack
        entry = {"Entrypoint": [f"/usr/local/bin/{program}"]} if program in ("coredns", "pause") else {}
        images[image] = Image([*base, program], entry)
    write_images(work / "images.tar", images, layers)
    return work / "images.tar", names["pause"]


def node_tree(bin_dir: Path, kind_source: Path, tree: Path) -> None:
    """Lay out the files that the node image adds to Debian's."""
    shutil.copytree(kind_source / "images/base/files", tree)
    for path in [tree, *tree.rglob("*")]:
        runs = path.is_dir() or path.parent in (tree / "usr/local/bin", tree / "kind/bin")
        path.chmod(0o755 if runs else 0o644)

    def put(path: str, data: bytes, mode: int = 0o644) -> None:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
        (tree / path).chmod(mode)

    for name in ("kubeadm", "kubelet", "kubectl"):
        put(f"usr/bin/{name}", (bin_dir / name).read_bytes(), 0o755)
    for name in (*CONTAINERD_PROGRAMS, "crictl"):
        put(f"usr/local/bin/{name}", (bin_dir / name).read_bytes(), 0o755)
    put("usr/local/sbin/runc", (HERE / "runc-wrap.sh").read_bytes(), 0o755)
    put("etc/cni/net.d/10-ptp.conflist", (HERE / "node/10-ptp.conflist").read_bytes())
    put("etc/kubernetes/kubelet.conf.d/cgroup-v1.conf", (HERE / "node/kubelet-cgroup-v1.conf").read_bytes())
    put("kind/manifests/default-cni.yaml", (HERE / "node/default-cni.yaml").read_bytes())
    put("kind/manifests/default-storage.yaml", storage_manifest(kind_source)[0].encode())
    put("kind/version", f"v{KUBERNETES}".encode())
