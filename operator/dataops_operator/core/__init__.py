"""The decisions: pure functions of what was observed and the time; no I/O."""
