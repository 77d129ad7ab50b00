"""The chart on a real node: real containers, real data, and what a user sees of it."""
