"""Jobs that do as they are told: what load tests and demonstrations run."""
