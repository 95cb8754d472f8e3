"""Publish jobs as a library does: `python -m bench.peers.adapters ADAPTER FIRST COUNT SLEEP SIZE`."""

import importlib
import sys

import uvloop

if __name__ == "__main__":
    adapter, first, count, sleep, size = sys.argv[1:]
    numbers = range(int(first), int(first) + int(count))
    jobs = [{"n": number, "sleep": float(sleep), "pad": "x" * int(size)} for number in numbers]
    uvloop.run(importlib.import_module(f"bench.peers.adapters.{adapter}").publish(jobs))
