"""How long jobs, payloads, attempts and decisions are kept, and how the old ones go.

`plan` decides, without a clock; `partitions` carries it out on PostgreSQL, `rows` what goes by rows; `keeper` does it all
every few minutes, in a `session` that one replica at a time has.
"""
