"""One Python environment for each program, so that their pins can't disturb each other."""

import os
import resource
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def environment(name: str, cache: Path) -> Path:
    """The interpreter of the environment made from `requirements-<name>.txt`; it is made when missing.

    pip's own settings hold (`PIP_INDEX_URL`, `PIP_EXTRA_INDEX_URL`), for example for PyTorch without CUDA.
    """
    folder = cache / "environments" / name
    python = folder / "bin" / "python"
    finished = folder / "finished"
    if not finished.exists():
        print(f"Making the environment of {name} in {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        requirements = HERE / f"requirements-{name}.txt"
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)], check=True)
        finished.touch()
    return python


def versions(python: Path, packages: list[str]) -> dict[str, str]:
    """Installed versions in the environment of `python`."""
    code = "import sys, importlib.metadata as m; print(*(m.version(p) for p in sys.argv[1:]))"
    answer = subprocess.run([str(python), "-c", code, *packages], check=True, capture_output=True, text=True)
    return dict(zip(packages, answer.stdout.split(), strict=True))


def run_logged(command: list[str], folder: Path, log: Path, threads: int, extra: dict[str, str] | None = None) -> float:
    """Run `command` in `folder` with its output in `log`; gives the seconds of CPU time it took.

    Raises RuntimeError with the last lines of the output when it fails.
    """
    variables = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "",
        **(extra or {}),
    }
    before = _cpu_seconds_of_children()
    with log.open("w") as stream:
        result = subprocess.run(
            command, cwd=folder, env=variables, stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    if result.returncode != 0:
        tail = "\n".join(log.read_text().splitlines()[-25:])
        raise RuntimeError(f"{' '.join(command)} ended with {result.returncode}; the end of {log}:\n{tail}")
    return _cpu_seconds_of_children() - before


def _cpu_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
