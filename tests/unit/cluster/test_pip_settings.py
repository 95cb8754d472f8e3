"""What a build gets of this machine's pip settings."""

from pathlib import Path

import pytest

from clusterkit.pip_settings import certificates, pip_conf, read

FILES = (
    "[global]\nindex_url = https://one.test/simple\ntimeout = 5\n",
    "[install]\ntrusted-host = two.test\n[global]\ntimeout = 9\n",
)


@pytest.mark.parametrize(
    ("env", "found"),
    [
        pytest.param(
            {}, {"index-url": "https://one.test/simple", "timeout": "9", "trusted-host": "two.test"}, id="files"
        ),
        pytest.param(
            {"PIP_INDEX_URL": "https://env.test/simple", "PIP_TIMEOUT": ""},
            {"index-url": "https://env.test/simple", "timeout": "9", "trusted-host": "two.test"},
            id="environment-wins",
        ),
        pytest.param(
            {"https_proxy": "http://proxy.test:3128"},
            {
                "index-url": "https://one.test/simple",
                "timeout": "9",
                "trusted-host": "two.test",
                "proxy": "http://proxy.test:3128",
            },
            id="proxy",
        ),
    ],
)
def test_read(tmp_path: Path, env: dict[str, str], found: dict[str, str]) -> None:
    paths = [tmp_path / str(number) for number in range(3)]  # the third is not there
    for path, text in zip(paths, FILES, strict=False):
        path.write_text(text)
    assert read(paths, env) == found


def test_pip_conf_leaves_out_paths_of_this_machine() -> None:
    options = {
        "index-url": "https://a.test",
        "find-links": "/wheels",
        "cert": "/ca.pem",
        "extra-index-url": "https://b https://c",
    }
    assert pip_conf(options, with_certificates=True) == (
        "[global]\nindex-url = https://a.test\nextra-index-url = https://b\n    https://c\ncert = /run/secrets/ca.pem\n"
    )


def test_pip_conf_of_a_plain_machine() -> None:
    assert pip_conf({}, with_certificates=False) == "[global]\n"


def test_certificates(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    assert certificates({"cert": str(tmp_path / "gone.pem")}, {"SSL_CERT_FILE": str(bundle)}) == bundle
