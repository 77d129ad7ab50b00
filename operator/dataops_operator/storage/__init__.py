"""Adapters to the places where an environment's data lives; run by Jobs under the environment's own runner."""
