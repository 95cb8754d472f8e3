"""Tasks: a service that keeps them, and a service that runs them and tells of it through a queue."""
