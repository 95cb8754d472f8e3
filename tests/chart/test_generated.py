"""What is made from the chart and the CRD is fresh, and holds no credential."""

import subprocess
import sys

import yaml


def test_nothing_is_stale(root):
    done = subprocess.run(
        [sys.executable, "-m", "charts.render", "--check"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_rendered_install_is_complete_and_holds_no_credential(root, objects):
    installed = list(yaml.safe_load_all((root / "manifests/install.yaml").read_text()))
    kinds = [(each["kind"], each["metadata"]["name"]) for each in installed]
    assert "Secret" not in {kind for kind, _ in kinds}
    assert kinds[:2] == [("Namespace", "leveret"), ("CustomResourceDefinition", "jobqueues.leveret.dev")]
    assert set(kinds) - {("Namespace", "leveret")} == {(each["kind"], each["metadata"]["name"]) for each in objects}


def test_the_pieces_are_those_of_the_install(root):
    installed = list(yaml.safe_load_all((root / "manifests/install.yaml").read_text()))
    for component in ("rabbitmq", "prometheus"):
        piece = list(yaml.safe_load_all((root / f"manifests/{component}.yaml").read_text()))
        labelled = [
            each
            for each in installed
            if each["metadata"].get("labels", {}).get("app.kubernetes.io/component") == component
        ]
        assert piece == labelled
