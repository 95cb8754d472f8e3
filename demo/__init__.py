"""The demonstration: real URLs through a real cluster, shown live on the terminal. Run with `python -m demo`."""
