"""The operator: JobQueues in, topology, Deployments and their size out."""
