"""This machine's pip settings (index, proxy, certificates), written out for a build that borrows them as secrets.

They come from pip's own files and from `PIP_…` variables, the later ones winning, as pip itself reads them. Paths of
this machine make no sense in an image: the certificates get a path of their own there, local folders are left out.
"""

import configparser
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

CA_IN_BUILD = "/run/secrets/ca.pem"
WANTED = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
SYSTEM_BUNDLES = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))


def files(env: Mapping[str, str]) -> list[Path]:
    """List the files that pip reads, in its order."""
    home, config = Path.home(), Path(env.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    found = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), home / ".pip/pip.conf", config / "pip/pip.conf"]
    found.append(Path(sys.prefix) / "pip.conf")
    if named := env.get("PIP_CONFIG_FILE"):
        found.append(Path(named))
    return found


def read(paths: Iterable[Path], env: Mapping[str, str]) -> dict[str, str]:
    """Merge pip's options for installing: `global`, then `install`, then the environment."""
    parser = configparser.RawConfigParser()
    parser.read(paths, encoding="utf-8")
    found: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            found |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    for name, value in env.items():
        if name.startswith("PIP_") and value:
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    if proxy := env.get("HTTPS_PROXY") or env.get("https_proxy"):
        found.setdefault("proxy", proxy)
    return found


def certificates(options: Mapping[str, str], env: Mapping[str, str]) -> Path | None:
    """Find the bundle that this machine's own downloads are checked with."""
    named = [options.get("cert"), env.get("SSL_CERT_FILE"), env.get("REQUESTS_CA_BUNDLE")]
    return next((path for path in [*map(Path, filter(None, named)), *SYSTEM_BUNDLES] if path.is_file()), None)


def pip_conf(options: Mapping[str, str], *, with_certificates: bool) -> str:
    """Write the pip.conf that a build gets."""
    set_here = [name for name in WANTED if name in options]
    lines = ["[global]", *(f"{name} = " + "\n    ".join(options[name].split()) for name in set_here)]
    if with_certificates:
        lines.append(f"cert = {CA_IN_BUILD}")
    return "\n".join(lines) + "\n"


def secrets(folder: Path) -> dict[str, Path]:
    """Write what a build needs of this machine's settings into a folder: {id of the secret: file}."""
    options = read(files(os.environ), os.environ)
    bundle = certificates(options, os.environ)
    conf = folder / "pip.conf"
    conf.touch(mode=0o600)
    conf.write_text(pip_conf(options, with_certificates=bundle is not None))
    return {"pip": conf} | ({"ca": bundle} if bundle else {})
