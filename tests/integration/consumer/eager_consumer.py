"""A consumer that asks for a larger prefetch as soon as its jobs are short, where the real one looks on for 30 s."""

import sys

from leveret_consumer import prefetch
from leveret_consumer.__main__ import main

if __name__ == "__main__":
    prefetch.DIFFERS_FOR = 0.0
    sys.exit(main())
