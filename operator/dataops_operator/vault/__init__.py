"""Vault: logging in as a run, reading, renewing, revoking. No value passes into an exception, a log or a repr."""
