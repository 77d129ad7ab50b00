"""The one error that a step ends with on purpose."""


class StepError(Exception):
    """A step cannot do what it was asked; the message says what is wrong, where, and what to do."""
