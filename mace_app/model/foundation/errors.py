"""What can be wrong with a file that somebody else wrote."""

from mace_app.model.errors import ModelError


class FoundationError(ModelError):
    """One sentence: what the file is, why it can't be used, and what to do.

    It may quote the file, so what could move a terminal's cursor or end the line is replaced.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(
            "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in sentence)
        )
