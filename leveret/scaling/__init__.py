"""From what was seen of a queue to how many consumers it should have: no clock, no broker, no cluster in here."""
