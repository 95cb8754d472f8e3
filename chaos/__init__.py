"""Jobs under faults, and the account of every one of them, kept by witnesses outside Leveret: `python -m chaos`."""
