"""The operator against an API server that fails, and against its own death at every write."""
