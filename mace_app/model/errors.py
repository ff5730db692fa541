"""The one error that building, fitting and using a model raises for what a person can change."""


class ModelError(ValueError):
    """One sentence: what is wrong, where, and what to do."""
