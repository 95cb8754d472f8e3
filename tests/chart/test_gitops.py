"""What is rendered and applied over and over: by Kustomize as by Helm, and without a difference to what the cluster makes of it."""

import re
import shutil
import subprocess

import yaml

from charts.render import CHART, ROOT, helm
from clusterkit.tools import need

ENTRY = re.compile(r"(?ms)^```yaml\n(helmCharts:.*?)^```")


def test_the_page_s_entry_makes_what_helm_makes_each_time(objects, tmp_path):
    (entry,) = ENTRY.findall((ROOT / "docs/how-to/gitops.md").read_text())
    (tmp_path / "kustomization.yaml").write_text(entry)
    shutil.copytree(CHART, tmp_path / "charts/leveret")
    command = [need("kubectl"), "kustomize", "--enable-helm", "--helm-command", helm(), tmp_path]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert by_name(yaml.safe_load_all(first.stdout)) == by_name(objects)


def by_name(objects):
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def test_what_the_api_server_would_add_to_lists_is_written(chart):
    """A list is compared as a whole by tools that don't know its defaults: a difference that no sync takes away."""
    made = by_name(chart.render("monitoring.podMonitor.enabled=true"))
    for name in ("leveret-rabbitmq", "leveret-postgresql"):
        (claim,) = made["StatefulSet", name]["spec"]["volumeClaimTemplates"]
        assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")
    (endpoint,) = made["PodMonitor", "leveret"]["spec"]["podMetricsEndpoints"]
    assert {rule["action"] for rule in endpoint["relabelings"]} == {"replace"}
    (rule,) = made["ValidatingAdmissionPolicy", "jobqueues.leveret.dev"]["spec"]["matchConstraints"]["resourceRules"]
    assert rule["scope"] == "*"
    pods = [each["spec"]["template"]["spec"] for each in made.values() if each["kind"] in {"Deployment", "StatefulSet"}]
    assert "'value': ''" not in str(pods)
