"""One controller a kind: read the cache, call core, apply the plan."""
