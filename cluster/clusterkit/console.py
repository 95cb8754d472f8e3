"""What the user reads: progress with the seconds since the start, and problems as sentences.

Progress goes to stderr, so that stdout holds results only (`make -s node-image` prints one tag).
"""

import sys
import time

START = time.monotonic()


class Fail(Exception):
    """A problem told to the user in a sentence, without a traceback."""


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"[{time.monotonic() - START:6.1f}s] {text}", file=sys.stderr, flush=True)
