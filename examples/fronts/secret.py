"""Make a Secret with a random password, unless it is there: `python -m examples.fronts.secret NAME`.

An init step in a pod whose service account may create Secrets, and nothing else: it can neither read nor change one, so
what it finds there stays. The password is in no file and in no log.
"""

import json
import secrets
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

API = "https://kubernetes.default.svc"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LABELS = {"app.kubernetes.io/part-of": "leveret-examples"}


def make(name: str, api: str = API, account: Path = ACCOUNT) -> str:
    """Return what was done; raise OSError where the API server refuses or does not answer."""
    secret = {
        "metadata": {"name": name, "labels": LABELS},
        "stringData": {"password": secrets.token_urlsafe(32)},
    }
    namespace, token = ((account / key).read_text().strip() for key in ("namespace", "token"))
    request = urllib.request.Request(  # noqa: S310 - the API server's address
        f"{api}/api/v1/namespaces/{namespace}/secrets",
        json.dumps(secret).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    context = ssl.create_default_context(cafile=account / "ca.crt") if api.startswith("https:") else None
    try:
        with urllib.request.urlopen(request, timeout=30, context=context):  # noqa: S310
            return f"Secret {name} is made"
    except urllib.error.HTTPError as problem:
        if problem.code == 409:
            return f"Secret {name} is there already and stays as it is"
        raise


def main() -> None:
    try:
        print(make(sys.argv[1]))
    except OSError as problem:
        sys.exit(f"Secret {sys.argv[1]} could not be made: {problem}. This is tried again.")


if __name__ == "__main__":
    main()
