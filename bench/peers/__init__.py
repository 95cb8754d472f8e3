"""How fast does a worker run jobs beside those of other libraries? `make peers`; see `docs/how-to/peers.md`."""

QUEUE = "leveret.peers"
SLOTS = 100  # jobs that run at once
