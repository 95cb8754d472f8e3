"""The API's bearer token, and the cookie that a browser gets for it.

The token is read again a moment after its file changes. The cookie is signed with a key made from the token, so a new
token ends all sessions.
"""

import hashlib
import hmac
import time
from collections.abc import Callable

from itsdangerous import BadData, URLSafeTimedSerializer

from leveret.settings import MissingSetting

CALLER = "token"  # whoever shows it; by name, so that who has the next one is still the same
COOKIE = "leveret-session"
SESSION_SECONDS = 12 * 3600
_REREAD = 2.0  # s
_SALT = "leveret browser session"


LEAST = 16  # characters; from a stolen cookie a shorter one can be guessed without asking us


def flaw_of(token: str) -> str | None:
    """Say why nobody could use a token; None: nothing."""
    if token.isascii() and token.isprintable() and token == token.strip():
        return None
    return (
        "the API's token must be of ASCII letters, digits and signs, with no space at its ends: no client could send another "
        "one as a bearer token"
    )


class Token:
    def __init__(self, read: Callable[[], str], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._value: str | None = None
        self._read_at: float | None = None

    def is_right(self, offered: str) -> bool:
        """Compare in constant time. Without a token of ours nothing is right."""
        token = self._current()
        return token is not None and hmac.compare_digest(token.encode(), offered.encode(errors="replace"))

    def issue_cookie(self) -> str:
        signer = self._signer()
        if signer is None:
            raise MissingSetting("there is no token to sign a cookie with")
        return signer.dumps("browser")

    def is_right_cookie(self, offered: str) -> bool:
        signer = self._signer()
        if signer is None:
            return False
        try:
            return bool(signer.loads(offered, max_age=SESSION_SECONDS) == "browser")
        except BadData:
            return False

    def _signer(self) -> URLSafeTimedSerializer | None:
        token = self._current()
        if token is None:
            return None
        return URLSafeTimedSerializer(hashlib.sha256(f"{_SALT}:{token}".encode()).digest(), salt=_SALT)

    def _current(self) -> str | None:
        now = self._clock()
        if self._read_at is None or now - self._read_at >= _REREAD:
            try:
                self._value = self._read()
            except (MissingSetting, OSError):
                self._value = None  # as long as the Secret isn't there, nobody gets in
            self._read_at = now
        return self._value
