import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from small_training import prepare_clusters, prepare_waters


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """``prepared(validation)``: 12 structures to train on, with or without 4 to validate."""
    found = {}

    def prepare_(validation: bool, count: int = 16):
        if (validation, count) not in found:
            found[validation, count] = prepare_waters(tmp_path_factory.mktemp("prepared"), validation, count)
        return found[validation, count]

    return prepare_


@pytest.fixture(scope="session")
def clusters(tmp_path_factory):
    """12 structures to train on and 4 to validate, of 3 to 9 atoms."""
    return prepare_clusters(tmp_path_factory.mktemp("clusters"))
