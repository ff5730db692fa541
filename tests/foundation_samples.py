"""Foundation files and folders for tests of pages: written by mace-torch and worked on by the real worker, each in a
process of its own, so that the tests themselves stay as light as the pages are."""

import os
import subprocess
import sys
from pathlib import Path

from mace_app.jobs import FoundationFolder

ROOT = Path(__file__).resolve().parents[1]
_WRITE = """
import sys
from pathlib import Path
from mace_files import TWO_HEADS, build, save
folder = Path(sys.argv[1])
save(build(), folder / "one.model")
save(build(**TWO_HEADS), folder / "two.model")
"""


def write_files(folder: Path) -> None:
    """``one.model`` has one head; ``two.model`` has the heads ``dft`` and ``ccsd``; both know H, C and O."""
    _run([sys.executable, "-c", _WRITE, str(folder)], PYTHONPATH=f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'foundation'}")


def hostile_pickle(would_make: Path) -> bytes:
    """What a careless reader would run: it makes a file."""
    command = f"touch {would_make}".encode()
    return b"\x80\x04cos\nsystem\nX" + len(command).to_bytes(4, "little") + command + b"\x85R."


def work(folder: FoundationFolder, **environment: str) -> None:
    """Do what was requested, as the supervisor would have it done."""
    command = [sys.executable, "-m", "mace_app", "work", str(folder.path)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, timeout=300, check=False)


def _run(command: list[str], **environment: str) -> None:
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
