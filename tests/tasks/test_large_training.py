"""A whole run needs no more memory for more structures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "large_data" / "measure.py"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_of_a_training_hardly_grows_with_the_number_of_structures(published_data: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--data", str(published_data), "--folder", str(tmp_path)]
    command += ["--sets", "ethanol", "--structures", "5000", "20000", "--steps", "train"]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    few, many = map(int, re.findall(r"private +(\d+) MiB", printed))
    assert many - few < 40, printed
    assert many < 1000, printed
