"""mailer's settings, from the environment."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from examples.mailer.smtp import COMMANDS_SECONDS

CLEAN_UP_SECONDS = 4.0  # of the 5 that a run has that is stopped


def _number(text: str) -> float:
    if not 0 <= (value := float(text)) < 1e6:
        raise ValueError
    return value


_READ: dict[str, Callable[[str], Any]] = {
    "sender": str,
    "backends": Path,
    "requeues": lambda text: int(_number(text)),
    "first_wait_seconds": _number,
    "reply_seconds": _number,
}


@dataclass(frozen=True, slots=True)
class Settings:
    sender: str = "mailer@example.com"
    backends: Path = Path("/etc/mailer/backends/backends.json")
    requeues: int = 10  # of a mail, then it is a dead letter
    first_wait_seconds: float = 5.0  # after the first try; doubled each time, up to 5 min
    reply_seconds: float = 30.0  # for each answer from DATA on
    send_in_doubt: bool = False  # send again what may have been sent

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return them; raise ValueError with a sentence."""
        given = {key: environment[name] for key in _READ if (name := f"MAILER_{key.upper()}") in environment}
        doubt = environment.get("MAILER_ON_DOUBT", "dead-letter")
        if doubt not in ("dead-letter", "send"):
            raise ValueError(f"MAILER_ON_DOUBT is {doubt!r}, and must be dead-letter or send")
        read = {}
        for key, text in given.items():
            try:
                read[key] = _READ[key](text)
            except ValueError:
                raise ValueError(f"MAILER_{key.upper()} is {text!r}, and must be a number, 0 or more") from None
        made = cls(**read, send_in_doubt=doubt == "send")
        if "@" not in made.sender:
            raise ValueError(f"MAILER_SENDER is {made.sender!r}, and must be an e-mail address")
        return made

    @property
    def talk_seconds(self) -> float:
        """Return how long a talk with one server may take, with what is written down."""
        return COMMANDS_SECONDS + 2 * self.reply_seconds + CLEAN_UP_SECONDS

    @property
    def longest_doubt(self) -> float:
        """Return for how long after *sending* was written down a run may still be at it."""
        return 2 * self.reply_seconds + 2 * CLEAN_UP_SECONDS
