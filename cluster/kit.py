#!/usr/bin/env python3
"""A real kind cluster and its images, on a Debian machine that may have neither Docker nor an image registry.

README.md beside this file says more. This file is read by any Python 3, so that an old one is refused in a sentence.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(f"kit.py: Python 3.11 or later is needed; this is {sys.version.split()[0]}")

from clusterkit.cli import main

if __name__ == "__main__":
    main()
