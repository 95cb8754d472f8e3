"""A consumer to which jobs below 0.3 s on 10 slots are short: on a busy machine none takes only the 3 ms of the real one."""

import sys

from leveret_consumer import prefetch
from leveret_consumer.__main__ import main

if __name__ == "__main__":
    prefetch.COVERS = 10.0
    sys.exit(main())
