"""Packages that some options need and that an installation may lack."""

import importlib.util


def is_here(package: str) -> bool:
    """Whether the package is installed; a folder of its name does not count. Nothing is imported."""
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None
