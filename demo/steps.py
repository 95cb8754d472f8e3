"""What has to be there before jobs are submitted, waited for with a sentence and the seconds it took."""

import time
from collections.abc import Callable
from contextlib import nullcontext

from rich.console import Console
from rich.text import Text

from demo.api import NotThere

ASK_EVERY_SECONDS = 1.0


def wait_for(console: Console, sentence: str, probe: Callable[[], str | None], *, seconds: float, fix: str) -> None:
    """Ask `probe` until it returns None; raise NotThere with its last answer and the fix when the time is over."""
    began = time.monotonic()
    with console.status(sentence) if console.is_terminal else nullcontext():
        while (said := probe()) is not None:
            if time.monotonic() - began > seconds:
                raise NotThere(f"{sentence}: not so after {seconds:.0f} s, {said}. {fix}")
            time.sleep(ASK_EVERY_SECONDS)
    console.print(Text(f"{sentence}: yes ({time.monotonic() - began:.0f} s)"))
