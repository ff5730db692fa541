"""What the app's server does with a workspace while people click, as a process that can be killed at any moment.

Usage: visitor.py WORKSPACE OPTIONS_FILE COUNT. It makes the runs that are missing (`run-0` to `run-<COUNT - 1>`, each
with a seed of its own), resumes those that were interrupted, changes their order, holds and releases them, writes
notes, and sees to it that a supervisor is there. It knows nothing but what lies in the workspace, as a server that
starts anew.
"""

import random
import sys
import time
from pathlib import Path

import yaml

from mace_app.jobs import JobsError, RunFolder, Workspace

workspace = Workspace(sys.argv[1])
template = yaml.safe_load(Path(sys.argv[2]).read_text())
count = int(sys.argv[3])
dice = random.Random()


def fiddle(run: RunFolder) -> None:
    """Something a person may do to a waiting or running run without changing what becomes of it."""
    choice = dice.randrange(5)
    if choice == 0:
        workspace.note_run(run.id, f"seen at {time.time()}")
    elif choice == 1:
        workspace.tag_run(run.id, ["overnight", str(dice.randrange(9))])
    elif choice == 2:
        workspace.move_run(run.id, dice.choice(("up", "down", "first", "last")))
    elif choice == 3:
        workspace.hold_run(run.id)
        workspace.hold_run(run.id, held=False)
    else:
        workspace.pause_queue()
        workspace.pause_queue(False)


workspace.pause_queue(False)  # as a person would who finds it paused, when the last visitor was killed meanwhile
while True:
    runs = {run.info().name: run for run in workspace.runs()}
    for job in workspace.queue.active():
        if job.held:
            workspace.hold_run(Path(job.folder).name, held=False)
    for number in range(count):
        name = f"run-{number}"
        if name not in runs:
            workspace.create_run({**template, "seed": 100 + number}, name)
        elif runs[name].info().state == "interrupted":
            try:
                workspace.resume_run(runs[name].id)
            except JobsError as error:
                print(f"{name}: {error}", flush=True)
    if runs:
        try:
            fiddle(dice.choice(list(runs.values())))
        except JobsError as error:
            if "can be changed only while a run waits" not in str(error):
                print(error, flush=True)
    workspace.look_after_jobs()
    time.sleep(dice.uniform(0.05, 0.3))
