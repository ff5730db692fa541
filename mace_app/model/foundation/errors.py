"""What can be wrong with a file that somebody else wrote."""

from mace_app.model.errors import ModelError


class FoundationError(ModelError):
    """One sentence: what the file is, why it can't be used, and what to do."""
