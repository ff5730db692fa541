"""A small real worker for the supervisor's tests: it lives, reports and obeys as a training does, in a second.

Usage: small_worker.py RUN_FOLDER. Its ``behave.txt`` says how: train (default), crash, silent, stubborn.
"""

import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from mace_app.jobs import RunFolder

run = RunFolder(sys.argv[1])
behaviour = (Path(sys.argv[1]) / "behave.txt").read_text() if (Path(sys.argv[1]) / "behave.txt").exists() else "train"
if behaviour == "crash":
    raise RuntimeError("the sky fell")
if behaviour == "silent":
    sys.exit(0)
if behaviour == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
run.start()
run.start_metrics({"energy": "eV/atom"}, ["energy"])
first = (run.last_epoch() or 0) + 1
for epoch in range(first, 10_000):
    run.append_metrics({"epoch": epoch, "validation/energy/mae": 1 / epoch})
    save_file({"weights": np.zeros(1)}, run.path / "new", {"mace_studio": json.dumps({"epoch": epoch})})
    (run.path / "new").rename(run.checkpoint_path("last"))
    if run.stop_requested() is not None and behaviour != "stubborn":
        run.set_state("stopped", "Stopped as asked.")
        break
    if (run.path / "finish").exists():
        run.set_state("finished")
        break
    time.sleep(0.03)
