"""Check URLs: status, latency and redirects of each, many at once, without becoming a way into the private network."""
