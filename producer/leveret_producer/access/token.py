"""The API's bearer token, and the cookie that a browser gets for it.

The token is read again a moment after its file changes. A second one may be accepted beside it, so that clients and
producers, which read a rotated Secret at different times, need not change in the same moment. The cookie is signed with a
key made from the token that was shown, so a session ends with its token.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Sequence

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
    def __init__(self, read: Callable[[], Sequence[str]], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._values: Sequence[str] = ()
        self._read_at: float | None = None

    def is_right(self, offered: str) -> bool:
        """Compare in constant time. Without a token of ours nothing is right."""
        shown = offered.encode(errors="replace")
        return any(hmac.compare_digest(token.encode(), shown) for token in self._current())

    def cookie_for(self, offered: str) -> str | None:
        """Return a cookie that is good for as long as this token; None if it isn't right."""
        return _signer(offered).dumps("browser") if self.is_right(offered) else None

    def is_right_cookie(self, offered: str) -> bool:
        return any(_signed_with(token, offered) for token in self._current())

    def _current(self) -> Sequence[str]:
        now = self._clock()
        if self._read_at is None or now - self._read_at >= _REREAD:
            try:
                self._values = self._read()
            except (MissingSetting, OSError):
                self._values = ()  # as long as the Secret isn't there, nobody gets in
            self._read_at = now
        return self._values


def _signer(token: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(hashlib.sha256(f"{_SALT}:{token}".encode()).digest(), salt=_SALT)


def _signed_with(token: str, cookie: str) -> bool:
    try:
        return bool(_signer(token).loads(cookie, max_age=SESSION_SECONDS) == "browser")
    except BadData:
        return False
