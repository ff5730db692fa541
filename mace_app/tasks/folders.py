"""Run folders for trainings begun on the command line."""

import os
import shlex
from dataclasses import replace
from pathlib import Path

from mace_app.jobs import RunFolder, RunFolderError, Workspace
from mace_app.jobs.names import display_name, run_id
from mace_app.jobs.processes import ProcessIdentity
from mace_app.options import RunOptions, dump_options, load_options, with_absolute_paths

COMMAND = "python -m mace_app train"


def new_run(options: RunOptions, folder: Path | None, name: str) -> RunFolder:
    """A fresh run in ``folder``, or in the workspace, where the app shows it. Paths are made absolute."""
    shown = display_name(name, "Run")
    text = dump_options(with_absolute_paths(options))
    if folder is not None:
        if (folder / "run.json").exists():
            raise RunFolderError(f"{folder} already holds a run. Choose another folder, or continue it with --resume.")
        return RunFolder.create(folder, text, shown, device=options.device, seed=options.seed, starting=_myself())
    runs = Workspace().runs_path
    attempt = 1
    while (runs / run_id(shown, attempt)).exists():
        attempt += 1
    folder = runs / run_id(shown, attempt)
    return RunFolder.create(folder, text, shown, device=options.device, seed=options.seed, starting=_myself())


def _myself() -> ProcessIdentity:
    """Noted in the run at once, so that no supervisor takes it for one that waits."""
    identity = ProcessIdentity.of(os.getpid())
    assert identity is not None
    return identity


def continued_run(source: Path, folder: Path | None) -> RunFolder:
    """The run to go on with: the folder ``source``, or ``folder`` with the options of the file ``source``."""
    if source.is_dir():
        if folder is not None and folder.resolve() != source.resolve():
            raise RunFolderError(f"{source} is a run folder already; leave out `-o {folder}` to resume it.")
        return _existing(source)
    if folder is None:
        raise RunFolderError(f"Name the run to resume: `{COMMAND} RUN_FOLDER --resume`, or give it with -o.")
    run = _existing(folder)
    options = load_options(source, check_files=True)
    if options.seed is None:
        options = options.model_copy(update={"seed": run.options().seed})
    run.write_options(dump_options(with_absolute_paths(options)))
    return run


def _existing(folder: Path) -> RunFolder:
    run = RunFolder(folder)
    if not run.run_file.exists():
        raise RunFolderError(f"{folder} holds no run to resume (it has no run.json). Name the folder of a run.")
    if run.worker_alive() and run.info().state in ("running", "stopping"):
        raise RunFolderError(f"The run in {folder} is being worked on. Wait for its end or stop it first.")
    run.update(lambda now: replace(now, state="queued", reason=None, failure=None, slot=None, **_myself().to_json()))
    return run


def resume_hint(run: RunFolder) -> str:
    return f"Continue with: {COMMAND} {shlex.quote(str(run.path))} --resume"
