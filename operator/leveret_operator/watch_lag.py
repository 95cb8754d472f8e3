"""How far the watch is behind the lists beside it.

What a list holds and the watch hasn't told yet, the watch owes; as a rule for some milliseconds. Of each object the first
revision that is owed counts until it, or a later one, was told: so objects that change all the time are not taken for a
watch that stands still.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

# Between two lists that are further apart (none worked, or the machine slept) the watch may not have had a chance either.
COUNTS_FOR = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Owed:
    revision: int
    since: datetime  # when a list first held it


class WatchLag:
    """Both kinds of objects, by uid. `behind_since` may be read from any thread; None while nothing is owed."""

    def __init__(self) -> None:
        self.behind_since: datetime | None = None
        self._told: dict[str, int] = {}  # the newest revision of each object that the watch has told
        self._owed: dict[str, Owed] = {}
        self._listed_at: datetime | None = None

    def tell(self, uid: str, revision: int) -> None:
        """The watch told of an object."""
        self._told[uid] = revision
        owed = self._owed.get(uid)
        if owed is not None and owed.revision <= revision:
            self._pay(uid)

    def tell_gone(self, uid: str) -> None:
        """The watch told that an object was deleted."""
        self._told.pop(uid, None)
        self._pay(uid)

    def told(self, uid: str) -> int:
        """Return the newest revision of an object that the watch told, 0 for none."""
        return self._told.get(uid, 0)

    def all_told(self) -> dict[str, int]:
        """Return the newest revision of each."""
        return dict(self._told)

    def compare(self, listed: Mapping[str, int], told_before: Mapping[str, int], now: datetime) -> None:
        """Note what the watch owes after a list of everything, revisions by uid.

        What was told before the list was asked for and isn't in it is gone; what was told since is newer than the list.
        """
        gone = {uid for uid in told_before.keys() - listed.keys() if self._told.get(uid) == told_before[uid]}
        self._told = {uid: revision for uid, revision in self._told.items() if uid not in gone}
        before = self._owed
        if self._listed_at is None or now - self._listed_at > COUNTS_FOR:
            before = {}
        self._listed_at = now
        late = {uid: revision for uid, revision in listed.items() if revision > self.told(uid)}
        self._owe({uid: before.get(uid) or Owed(revision, now) for uid, revision in late.items()})

    def _pay(self, uid: str) -> None:
        self._owe({other: one for other, one in self._owed.items() if other != uid})

    def _owe(self, owed: dict[str, Owed]) -> None:
        self._owed = owed
        self.behind_since = min((one.since for one in owed.values()), default=None)
