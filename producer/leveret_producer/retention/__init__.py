"""How long jobs, payloads, attempts and decisions are kept, and how the old ones go.

`plan` decides, without a clock; `partitions` carries it out on PostgreSQL; `keeper` does it every few minutes.
"""
