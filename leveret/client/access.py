"""Where the API is, and the token for it.

Each is an argument, or in `LEVERET_URL` and `LEVERET_TOKEN`, or a key (`url`, `token`) of a Secret mounted at
`/etc/leveret/token`. The token is read anew for every request: a rotated Secret changes in the folder, and a client lives
longer than its token.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from leveret.client.errors import NotConfigured
from leveret.settings import MissingSetting, Places


@dataclass(frozen=True, slots=True)
class Access:
    given: str | None  # the token, where it was an argument
    places: Places

    def token(self) -> str:
        """Return the token as it is now; raise NotConfigured."""
        try:
            token = (self.given or self.places.token()).strip()
        except MissingSetting as problem:
            raise NotConfigured(f"{problem}. Nothing was sent") from problem
        if not (token and token.isascii() and token.isprintable()):
            raise NotConfigured("the token is empty or has letters that no header can carry. Nothing was sent")
        return token


def url(given: str | None, places: Places) -> str:
    """Return the API's URL without a slash at its end; raise NotConfigured."""
    mounted = places.folder / "token" / "url"
    found = given or places.environment.get("LEVERET_URL") or (mounted.read_text() if mounted.is_file() else "")
    if not found:
        raise NotConfigured(
            f"there is no URL of Leveret's API: hand it over, or set LEVERET_URL, or mount the key {mounted}"
        )
    try:
        parts = urlsplit(found.strip())
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment:
        raise NotConfigured(
            "the URL of Leveret's API can't be used: it must look like https://leveret.example.org or "
            "http://leveret-producer.leveret, perhaps with a port and a path, and without a user or a question mark"
        )
    return found.strip().rstrip("/")
