"""Why a model was not exported."""

from typing import Any


class ExportRefused(Exception):
    """One sentence, and the table of checks where the exported file disagreed with the model.

    ``checks`` has the entries of ``ExportReport.checks``; it is empty when the file was never compared.
    """

    def __init__(self, message: str, checks: list[Any] | None = None) -> None:
        self.message = message
        self.checks = list(checks or [])
        super().__init__("\n".join([message, *(str(check) for check in self.checks)]))
