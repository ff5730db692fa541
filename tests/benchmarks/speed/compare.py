"""How fast training is: ours, `mtt train` and `mace_run_train`, with the same data and hyperparameters.

`python tests/benchmarks/speed/compare.py --data FOLDER --cache FOLDER` runs the programs in turn, several rounds of a
few epochs each, so that what else the machine does hits all of them; an epoch is the time from the line of one epoch
to that of the next, training and validation and everything in between. The shortest epoch of all rounds counts, and
their median is shown beside it. `--write` puts the table into docs/performance.md. The environments of the other
programs are made in the cache from the requirements files of the learning benchmark, unless interpreters are named.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from programs import END_OF_EPOCH, PROGRAMS
from setting import SETTINGS, Files, Setting, make_files

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
sys.path.insert(0, str(HERE.parent / "learning"))
from environments import environment, versions  # noqa: E402

PACKAGES = {"studio": ["torch", "mace-torch"], "metatrain": ["metatrain", "torch"], "mace": ["mace-torch", "torch"]}
TITLES = {"studio": "MACE Studio", "metatrain": "`mtt train`", "mace": "`mace_run_train`"}
BEGIN, END = "<!-- training: begin -->", "<!-- training: end -->"


def main() -> None:
    arguments = parse()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    pythons = {
        "studio": Path(sys.executable),
        "metatrain": arguments.mtt_python or environment("mtt", arguments.cache),
        "mace": arguments.mace_python or environment("mace", arguments.cache),
    }
    chosen = [SETTINGS[index] for index in arguments.settings] if arguments.settings else SETTINGS
    results = []
    for setting in chosen:
        if arguments.epochs:
            setting = replace(setting, epochs=arguments.epochs)
        files = make_files(setting.data, arguments.data, arguments.cache, setting.r_max)
        seconds: dict[str, list[float]] = {name: [] for name in arguments.programs}
        for _ in range(arguments.rounds):
            for name in arguments.programs:
                seconds[name] += epochs(name, pythons[name], setting, files)
                print(f"{setting.name}: {name} {np.round(seconds[name][-setting.epochs :], 3).tolist()}", flush=True)
        results.append((setting, seconds))
    text = table(results, {name: versions(pythons[name], PACKAGES[name]) for name in arguments.programs})
    print(text)
    if arguments.write:
        page = REPOSITORY / "docs" / "performance.md"
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


def epochs(name: str, python: Path, setting: Setting, files: Files) -> list[float]:
    """Seconds of every epoch but the first."""
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY)} if name == "studio" else dict(os.environ)
    variables |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"}
    variables |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(setting.threads))
    stamps, lines = [], []
    with tempfile.TemporaryDirectory() as folder:
        command = PROGRAMS[name](python, setting, files, Path(folder))
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if re.search(END_OF_EPOCH[name], line):
                stamps.append(time.perf_counter())
            if len(stamps) > setting.epochs:
                break  # what follows, an export for example, isn't timed
        process.kill()
        process.wait()
    if len(stamps) < 3:
        raise RuntimeError(f"{name} printed the lines of {len(stamps)} epochs:\n{''.join(lines[-30:])}")
    return list(np.diff(stamps[1:]))


def table(results: list[tuple[Setting, dict[str, list[float]]]], found: dict[str, dict[str, str]]) -> str:
    names = list(found)
    others = [name for name in names if name != "studio"]
    head = ["model and data", *(TITLES[name] for name in names), *(f"{TITLES[name]} / ours" for name in others)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for setting, seconds in results:
        cells = [setting.name, *(f"{min(seconds[n]):.3f} ({np.median(seconds[n]):.3f})" for n in names)]
        if "studio" in seconds:
            cells += [f"{min(seconds[name]) / min(seconds['studio']):.2f}" for name in others]
        lines.append("| " + " | ".join(cells) + " |")
    said = "; ".join(
        f"{TITLES[name]}: " + ", ".join(f"{package} {version}" for package, version in entry.items())
        for name, entry in found.items()
    )
    threads = results[0][0].threads
    lines += [
        "",
        f"Seconds per epoch (80 structures to train on, 20 to validate, batches of 8, {threads} thread): the shortest, "
        f"and in brackets the median. {said}; Python {platform.python_version()}, {platform.machine()}.",
    ]
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    shared = os.environ.get("MACE_APP_TEST_DATA")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=shared, help="folder of the data sets; or MACE_APP_TEST_DATA")
    parser.add_argument("--cache", type=Path, required=True, help="folder for environments and files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of every run, instead of each setting's own number")
    parser.add_argument("--settings", type=int, nargs="*", help=f"which of {len(SETTINGS)} settings, from 0")
    parser.add_argument("--programs", nargs="*", choices=list(PROGRAMS), default=list(PROGRAMS))
    parser.add_argument("--mtt-python", type=Path, help="interpreter with metatrain, instead of an own environment")
    parser.add_argument("--mace-python", type=Path, help="interpreter with mace-torch, instead of an own environment")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("name the data with --data or MACE_APP_TEST_DATA")
    arguments.data, arguments.cache = Path(arguments.data).resolve(), arguments.cache.resolve()
    return arguments


if __name__ == "__main__":
    main()
