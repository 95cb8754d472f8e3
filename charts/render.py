"""Make what is made from the chart and the CRD, or say what is stale.

The CRD's source of truth is manifests/crd.yaml; the chart carries a copy with switches around it. The files in manifests/ that
install Leveret without Helm are the chart, rendered: no credential is ever in it. The pages of
docs/reference take their tables from values.yaml and from the CRD.

    python -m charts.render            # write
    python -m charts.render --check    # write nothing; exit 1 and name what is stale

It needs helm, on PATH or where the cluster kit puts it.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from charts import reference

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts/leveret"
CRD = ROOT / "manifests/crd.yaml"
CRD_NAME = "  name: jobqueues.leveret.dev\n"

# By the first Helm keeps it; by the others Argo CD and Flux do, where it is no longer in what they apply.
KEEP = """\
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
    argocd.argoproj.io/sync-options: Prune=false
    kustomize.toolkit.fluxcd.io/prune: disabled
  {{- end }}
"""

INSTALL = """\
# All of Leveret, without Helm. Made from the chart by charts/render.py: change it there.
#
#   kubectl apply -f manifests/install.yaml
#
# It holds no credential: the operator makes the Secrets leveret-broker, leveret-database, leveret-token and leveret-installation
# where they are absent, and leaves alone what is there. RabbitMQ and PostgreSQL take their password when their volume is empty,
# and keep it.
"""

PIECE = """\
# {title} of manifests/install.yaml alone, for those who run the rest otherwise. Made from the chart by charts/render.py.
{needs}"""

BROKER_NEEDS = """\
# It needs the Secret leveret-broker, which the operator of install.yaml makes. Without that:
#
#   kubectl -n leveret create secret generic leveret-broker --from-literal=host=leveret-rabbitmq --from-literal=port=5672 \\
#     --from-literal=username=leveret --from-literal=password="$(openssl rand -hex 32)"
"""

PIECES = {
    "rabbitmq": ("The broker", BROKER_NEEDS),
    "prometheus": ("The monitoring", "# It scrapes the pods of the namespace leveret with a port named `metrics`.\n"),
}

NAMESPACE = "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: leveret\n"


class Stop(Exception):
    """What keeps us from going on, as a sentence."""


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is stale")
    check = arguments.parse_args().check
    try:
        made = dict(files())
    except Stop as problem:
        print(f"charts.render: {problem}", file=sys.stderr)
        return 1
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is stale: run python -m charts.render", file=sys.stderr)
        else:
            path.write_text(made[path])
            print(f"{path.relative_to(ROOT)} written")
    return 1 if check and stale else 0


def files() -> Iterator[tuple[Path, str]]:
    """Yield every file that is made, and its text."""
    crd = CRD.read_text()
    yield CHART / "templates/crd.yaml", chart_copy(crd)
    documents = rendered()
    everything = [INSTALL, NAMESPACE, "---\n", without_comments(crd), *documents]
    yield ROOT / "manifests/install.yaml", "".join(everything)
    for component, (title, needs) in PIECES.items():
        own = [document for document in documents if f"# Source: leveret/templates/{component}/" in document]
        yield ROOT / f"manifests/{component}.yaml", PIECE.format(title=title, needs=needs) + "".join(own)
    yield from reference.pages(ROOT).items()


def chart_copy(crd: str) -> str:
    """Return the CRD as a template of the chart."""
    if "{{" in crd or crd.count(CRD_NAME) != 1:
        raise Stop("manifests/crd.yaml cannot become a template: it must hold its name once and no double braces")
    head = "{{- /* Made from manifests/crd.yaml by charts/render.py: change it there. */ -}}\n{{- if .Values.crds.enabled }}\n"
    return head + without_comments(crd).replace(CRD_NAME, CRD_NAME + KEEP) + "{{- end }}\n"


def without_comments(text: str) -> str:
    """Return the text without lines that are comments: what explains the source says nothing of a copy."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))


def rendered() -> list[str]:
    """Return the chart's objects but the CRD, each as a document, for the namespace leveret."""
    command = [helm(), "template", "leveret", str(CHART), "--namespace", "leveret", "--skip-tests"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Stop(f"helm could not render the chart: {done.stderr.strip()}")
    documents = (document.strip() for document in done.stdout.split("---\n"))
    return [f"---\n{document}\n" for document in documents if document and "/templates/crd.yaml\n" not in document]


def helm() -> str:
    """Return the path of helm: the one on PATH, else the cluster kit's."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = shutil.which("helm") or shutil.which("helm", path=str(cache / "leveret-cluster/bin"))
    if not found:
        raise Stop("there is no helm on PATH and the cluster kit has fetched none: run python3 cluster/kit.py tools")
    return found


if __name__ == "__main__":
    sys.exit(main())
