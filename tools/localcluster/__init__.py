"""A real Kubernetes cluster for development and tests, on a machine without Docker (or with it, by kind).

Standard library only: it runs on a bare Python 3.11 before any environment exists.
"""
