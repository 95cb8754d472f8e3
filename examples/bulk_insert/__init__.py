"""Bulk insert: many rows in one transaction, which can be stopped at any moment and leaves all of them or none."""
