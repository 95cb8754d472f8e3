"""Why the process ends, where Kubernetes looks for it: the pod's termination message, which a JobQueue's status shows.

The kubelet makes the file and mounts it, also on a root file system that is read-only. Where it isn't, there is nobody
to read it and nothing is made.
"""

import contextlib
import os
from pathlib import Path

PLACE = Path("/dev/termination-log")
LONGEST = 1_000  # characters; the kubelet takes 4 KiB, and all containers of a pod together 12


def leave(sentence: str, place: Path | None = None) -> None:
    """Write the sentence; a file that can't be written keeps nobody from ending."""
    with contextlib.suppress(OSError):
        file = os.open(place or PLACE, os.O_WRONLY | os.O_TRUNC)  # never made: it would be a file in /dev
        with os.fdopen(file, "wb") as open_file:
            open_file.write(sentence[:LONGEST].encode(errors="replace"))
