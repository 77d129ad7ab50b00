"""What tests with a cluster share: API access, the operator's process, played pods, faults, invariants."""
