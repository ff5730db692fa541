import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # hyper_runs.py
from hyper_runs import Laboratory


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    return Laboratory(tmp_path_factory.mktemp("hypers"))
