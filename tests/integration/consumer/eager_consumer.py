"""A consumer that asks for a larger prefetch as soon as its jobs are short, where the real one looks on for 30 s.

Short is below 0.3 s on 10 slots: on a busy machine none takes only the 3 ms that it asks the most for.
"""

import sys

from leveret_consumer import prefetch
from leveret_consumer.__main__ import main

if __name__ == "__main__":
    prefetch.DIFFERS_FOR, prefetch.COVERS = 0.0, 10.0
    sys.exit(main())
