"""Talking to the Kubernetes API: client, cache, work queue, list-and-watch, leadership.

Knows nothing of pipelines. Bodies are plain dicts as the API server sends them; models begin one layer above.
"""
