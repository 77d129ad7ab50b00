"""The command line `dataops`, also `kubectl dataops`, for people and scripts. Never part of the operator's process."""
