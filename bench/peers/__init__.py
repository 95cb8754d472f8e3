"""How fast does a worker run jobs beside those of other libraries? `make peers`; see `docs/how-to/peers.md`."""
