"""What kubectl complains about, as sentences with the fix; and the demo's own arguments."""

from pathlib import Path

import pytest

from demo.__main__ import options
from demo.api import NotThere
from demo.cluster import Cluster, explain

GET = ("get", "secret", "leveret-token", "-o", "jsonpath={.data.token}")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ('error: context "kind-leveret" does not exist', "There is no cluster kind-leveret: run `make up`"),
        (
            "The connection to the server 127.0.0.1:41233 was refused - did you specify the right host or port?",
            "The cluster kind-leveret does not answer: run `make up`",
        ),
        (
            'Error from server (NotFound): secrets "leveret-token" not found',
            "kind-leveret has no secret leveret-token: run `make up`",
        ),
        (
            'error: resource mapping not found for name: "bench": no matches for kind "JobQueue" in version "leveret.dev/v1alpha1"',
            "Leveret is not installed in kind-leveret: run `make up`",
        ),
        ("line one\nerror: something else\n", "kubectl get secret leveret-token failed: error: something else"),
        ("", "kubectl get secret leveret-token failed: kubectl failed"),
    ],
    ids=["no context", "not running", "not found", "no CRD", "another", "nothing said"],
)
def test_a_complaint_of_kubectl_becomes_a_sentence(said: str, sentence: str) -> None:
    assert explain("kind-leveret", GET, said).startswith(sentence)


def kubectl(folder: Path, script: str) -> Cluster:
    program = folder / "kubectl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Cluster(str(program), "kind-leveret", "leveret")


def test_the_token_is_read_from_its_secret(tmp_path: Path) -> None:
    script = '[ "$*" = "--context kind-leveret -n leveret get secret leveret-token -o jsonpath={.data.token}" ] && printf aGFyZQ=='
    assert kubectl(tmp_path, script).token() == "hare"


def test_a_token_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="no readable token"):
        kubectl(tmp_path, "printf 'no base64!'").token()


@pytest.mark.parametrize(
    ("ready", "said"), [("1", None), ("0", "no pod of it is ready"), ("", "no pod of it is ready")]
)
def test_a_deployment_is_there_once_a_pod_is_ready(tmp_path: Path, ready: str, said: str | None) -> None:
    assert kubectl(tmp_path, f"printf '{ready}'").not_rolled_out("url-check-targets") == said


def test_only_conditions_that_are_not_true_are_told(tmp_path: Path) -> None:
    good = '{"type": "ScalingActive", "status": "True", "message": "x"}'
    bad = '{"type": "Ready", "status": "False", "message": "no broker"}'
    assert kubectl(tmp_path, f"echo '[{good}, {bad}]'").conditions("url-check") == ["Ready: no broker"]
    assert kubectl(tmp_path, "true").conditions("url-check") == []


def test_without_kubectl_the_fix_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(NotThere, match=r"kubectl is neither on PATH nor in .*: run `make up`"):
        Cluster.find("kind-leveret", "leveret")


def test_the_kubectl_that_make_up_fetched_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = tmp_path / "leveret-cluster" / "bin"
    fetched.mkdir(parents=True)
    program = kubectl(fetched, "true").kubectl
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Cluster.find("kind-leveret", "leveret").command() == f"{program} --context kind-leveret -n leveret"


@pytest.mark.parametrize("jobs", ["0", "-1", "100001", "many"])
def test_a_number_of_jobs_that_makes_no_sense_is_refused(jobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        options(["--jobs", jobs])
    assert "--jobs" in capsys.readouterr().err


def test_the_defaults_are_those_of_make_demo() -> None:
    given = options([])
    assert (given.jobs, given.context, given.namespace, given.url, given.until_zero) == (
        3000,
        "kind-leveret",
        "leveret",
        "http://127.0.0.1:8080",
        False,
    )
