"""metatrain evaluates our file and finds our errors: ``python compare_with_mtt.py RUN_FOLDER STRUCTURES.xyz``.

``mtt eval`` is the program named by MACE_APP_MTT, or the one on the path.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from comparing import Row, finish, own_errors, targets_of

# metatrain prints five digits, and its energies in meV.
RELATIVE = 2e-4
ENTRY = re.compile(r"(?P<label>\S+) (?P<kind>RMSE|MAE)(?: \(per atom\))?: (?P<value>\S+)(?: (?P<unit>\S+))?$")
GRADIENTS = {"_positions_gradients": ".forces", "_strain_gradients": ".stress"}
READ_BY_BOTH = ("key", "unit", "quantity", "sample_kind", "num_subtargets", "description")


def program() -> Path | None:
    named = os.environ.get("MACE_APP_MTT") or shutil.which("mtt")
    return Path(named) if named else None


def evaluate(mtt: Path, model: Path, data: Path, targets: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Our label → mae and rmse as metatrain prints them, in eV where it has meV."""
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "systems": {"read_from": str(data.resolve()), "length_unit": "angstrom"},
            "targets": {name: translated(target) for name, target in targets.items()},
        }
        (Path(folder) / "eval.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
        command = [str(mtt), "eval", str(model.resolve()), "eval.yaml", "-o", "predictions.xyz"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{said[-3000:]}")
    (line,) = [line for line in said.splitlines() if " RMSE" in line and " | " in line]
    found: dict[str, dict[str, float]] = {}
    for part in line.partition("] - ")[2].split(" | "):
        entry = ENTRY.search(part.strip())
        assert entry is not None, f"metatrain printed {part!r}"
        label = entry["label"]
        for theirs, ours in GRADIENTS.items():
            label = label.replace(theirs, ours)
        milli = 1e-3 if (entry["unit"] or "").startswith("meV") else 1.0
        found.setdefault(label, {})[entry["kind"].lower()] = float(entry["value"]) * milli
    return found


def translated(target: dict[str, Any]) -> dict[str, Any]:
    """What metatrain knows of a target: no `symmetric`, and nothing that is left open."""
    result = {key: target[key] for key in READ_BY_BOTH if target.get(key) not in (None, "")}
    kind = target.get("type", "scalar")
    if isinstance(kind, dict) and "cartesian" in kind:
        kind = {"cartesian": {"rank": kind["cartesian"]["rank"]}}
    result["type"] = kind
    for name in ("forces", "stress", "virial"):
        value = target.get(name)
        if isinstance(value, dict):
            result[name] = {"key": value["key"]}
        elif value is False:
            result[name] = False
    return result


def compare(run: Path, data: Path, mtt: Path) -> list[Row]:
    theirs, rows = evaluate(mtt, run / "model.pt", data, targets_of(run)), []
    for label, errors in own_errors(run, data).items():
        for kind in ("mae", "rmse"):
            value = theirs.get(label, {}).get(kind, np.nan)
            rows.append(Row(f"{label} {kind}", abs(value - errors[kind]), RELATIVE * errors[kind], errors[kind]))
    return rows


if __name__ == "__main__":
    found = program()
    if found is None:
        raise SystemExit("There is no mtt; install metatrain, or name its program in MACE_APP_MTT.")
    finish(compare(Path(sys.argv[1]), Path(sys.argv[2]), found))
