"""The DataOps operator: pipelines as custom resources, reconciled into Jobs."""

__version__ = "0.1.0"
