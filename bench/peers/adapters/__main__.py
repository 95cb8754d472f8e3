"""Publish jobs as a library does: `python -m bench.peers.adapters ADAPTER FIRST COUNT SLEEP SIZE`."""

import importlib
import sys

if __name__ == "__main__":
    adapter, first, count, sleep, size = sys.argv[1:]
    jobs = [
        {"n": number, "sleep": float(sleep), "pad": "x" * int(size)}
        for number in range(int(first), int(first) + int(count))
    ]
    importlib.import_module(f"bench.peers.adapters.{adapter}").publish(jobs)
