"""Ask a question over HTTP and have the answer in the same request, while a queue and its consumers do the work."""
