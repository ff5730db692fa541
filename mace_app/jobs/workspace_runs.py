"""What a person can do with the runs of a workspace, each with a refusal in a sentence where it can't be done now."""

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_app.jobs.checkpoint_files import NoCheckpoint, change_batches, checkpoint_header
from mace_app.jobs.data_roots import allowed_path
from mace_app.jobs.devices import ALL_CUDA
from mace_app.jobs.errors import RunFolderError, WorkspaceError
from mace_app.jobs.failures import Failure, Suggestion
from mace_app.jobs.folders import building_folder, delete_folder, listed, move_into_place
from mace_app.jobs.names import display_name, is_folder_name, plain_text, run_id
from mace_app.jobs.queue import JobQueue, Move
from mace_app.jobs.run_folder import RunFolder
from mace_app.jobs.run_import import Imported, import_into
from mace_app.jobs.run_state import ACTIVE_STATES, RESUMABLE_STATES, State, StopMode
from mace_app.jobs.source_folder import SourceFolder

if TYPE_CHECKING:
    from mace_app.options import Problem, RunOptions

# A run says how it ended a moment before its process is gone and its job is off the queue.
RESUME_PATIENCE_SECONDS = 5.0
MOST_TAGS, LONGEST_TAG, LONGEST_NOTE = 20, 40, 20_000
EPOCHS = ("architecture", "training", "num_epochs")
# A run may go on with other batches, but only from the end of an epoch.
BATCHES = frozenset({"batch_size", "batch_atom_bounds", "accumulate_batches"})


class WorkspaceRuns:
    """The runs under ``root`` and their places in ``queue``.

    Methods that put a job in the queue do not start it: call ``ensure_supervisor`` after them.
    """

    root: Path
    queue: JobQueue

    @property
    def runs_path(self) -> Path:
        return self.root / "runs"

    def runs(self) -> list[RunFolder]:
        """Newest first; archived and damaged ones too, so that they can be shown and deleted."""
        return [RunFolder(path) for path in sorted(self.runs_path.iterdir(), reverse=True) if listed(path)]

    def run(self, identifier: str) -> RunFolder:
        path = self.runs_path / identifier
        if not is_folder_name(identifier) or not path.is_dir():
            raise WorkspaceError(f"There is no run {identifier!r}. It may have been deleted.")
        return RunFolder(path)

    # Beginning

    def create_run(
        self, options: "RunOptions | Mapping[str, Any] | str", name: str, *, held: bool = False
    ) -> RunFolder:
        """Make a run and queue it. Options as an object, a mapping or YAML; OptionsError if they do not hold.

        The stored options are complete: every default is written out, and every path is absolute. WorkspaceError for a
        file outside the data roots (`data_roots`). A ``held`` run waits until it is released.
        """
        from mace_app.options import RunOptions, dump_options, parse_options, parse_yaml, with_absolute_paths

        if isinstance(options, str):
            options = parse_yaml(options)
        if not isinstance(options, RunOptions):
            options = parse_options(options)
        options = with_absolute_paths(options)
        self.refuse_foreign_files(options)
        return self._create_run(dump_options(options), name, options.device, options.seed, held)

    def refuse_foreign_files(self, options: "RunOptions") -> None:
        """WorkspaceError for a file outside the data roots."""
        from mace_app.options import named_files

        for _, path in named_files(options):
            allowed_path(path, self.root)

    def file_problems(self, options: "RunOptions") -> "list[Problem]":
        """The files that options name and that may not be read, or are not there."""
        from mace_app.options import Problem, missing_files, named_files

        refused = {}
        for place, path in named_files(options):
            try:
                allowed_path(path, self.root)
            except WorkspaceError as error:
                refused[place] = Problem(place, str(error))
        missing = [problem for problem in missing_files(options) if problem.loc not in refused]
        return [*refused.values(), *missing]

    def _refuse_if_needed(self, folder: SourceFolder) -> None:
        """WorkspaceError if a run that is not over works with a file in ``folder``."""
        for run in self.runs():
            try:
                needed = run.info().state in ACTIVE_STATES and str(folder.path) in run.options_text()
            except RunFolderError:
                continue
            if needed:
                raise WorkspaceError(
                    f"The run {run.id} still works with the {folder.thing} {folder.id}. Stop the run first."
                )

    def _refuse_if_analysed(self, folder: str, name: str) -> None:
        """WorkspaceError if an analysis in ``folder``, relative to the workspace, waits or is at work."""
        if any(job.folder.startswith(f"{folder}/") for job in self.queue.active()):
            raise WorkspaceError(f"{name} is being analysed. Cancel the analysis, then delete it.")

    def _create_run(self, text: str, name: str, device: str | None, seed: int | None, held: bool = False) -> RunFolder:
        building = building_folder(self.runs_path)
        shown = display_name(name, "Run")
        made: list[Path] = []

        def identify(attempt: int) -> str:
            # The folder's name is the run's: it is written inside before the folder appears under it.
            identifier = run_id(shown, attempt)
            (building / "run.json").unlink(missing_ok=True)
            RunFolder.create(building, text, shown, identifier=identifier, device=device, seed=seed)
            return identifier

        try:
            made.append(move_into_place(building, self.runs_path, identify))
        except OSError as error:
            raise WorkspaceError(f"The run {name!r} could not be stored: {error}. Is the disk full?") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
        run = RunFolder(made[0])
        # Killed before this line, the run still gets its place: the supervisor finds it and gives it one. So the place
        # may be there already, or the run even be at work.
        self.queue.add(f"runs/{run.id}", run.requested_device() or device, held=held, needed=lambda: _waits(run))
        return run

    def options_of(self, identifier: str) -> dict[str, Any]:
        """The options of a run as a mapping in the grammar of ``options.yaml``, to begin another one with."""
        from mace_app.options import to_mapping

        return to_mapping(self.run(identifier).options())

    def import_run(self, source: Path | str, name: str | None = None) -> Imported:
        """Copy a run folder from elsewhere on this machine into the workspace, as data: see ``run_import``.

        WorkspaceError for one outside the data roots (`data_roots`).
        """
        building = building_folder(self.runs_path)
        try:
            draft = import_into(building, Path(source), self.root, name)

            def identify(attempt: int) -> str:
                identifier = run_id(draft.name, attempt)
                RunFolder(building).update(id=identifier)
                return identifier

            placed = move_into_place(building, self.runs_path, identify)
        except OSError as error:
            raise WorkspaceError(f"The run {source} could not be imported: {error}. Is the disk full?") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return Imported(RunFolder(placed), draft.left_out)

    # Words about a run

    def rename_run(self, identifier: str, name: str) -> None:
        """Change the name that is shown; the folder stays."""
        self.run(identifier).update(name=display_name(name, identifier))

    def tag_run(self, identifier: str, tags: Sequence[str]) -> list[str]:
        """Replace the tags of a run; gives them as stored: on one line, none twice, in order."""
        wanted = list(dict.fromkeys(tag for text in tags if (tag := display_name(text, ""))))
        if len(wanted) > MOST_TAGS:
            raise WorkspaceError(f"A run can have {MOST_TAGS} tags; these are {len(wanted)}. Leave some out.")
        too_long = next((tag for tag in wanted if len(tag) > LONGEST_TAG), None)
        if too_long is not None:
            raise WorkspaceError(f"The tag {too_long!r} is longer than {LONGEST_TAG} characters. Shorten it.")
        self.run(identifier).update(tags=wanted)
        return wanted

    def note_run(self, identifier: str, text: str) -> None:
        """Replace the note on a run: any text of several lines."""
        if len(text) > LONGEST_NOTE:
            raise WorkspaceError(
                f"A note can have {LONGEST_NOTE} characters; this one has {len(text)}. Shorten it or keep it in a file."
            )
        self.run(identifier).update(note=plain_text(text))

    def archive_run(self, identifier: str, archived: bool = True) -> None:
        """Put a run that is over out of the way, or bring it back; nothing of it changes."""
        run = self.run(identifier)
        state = run.info().state
        if archived and state in ACTIVE_STATES:
            raise WorkspaceError(f"The run {identifier} is {state}. Stop it, or wait for its end, then archive it.")
        run.update(archived=archived)

    # Stopping and going on

    def stop_run(self, identifier: str, mode: StopMode = "best") -> None:
        """A waiting run stops at once; a running one finishes its step, saves and exports (``best``) or ends soon."""
        run = self.run(identifier)
        if self.queue.cancel(f"runs/{identifier}", then=lambda: _end_waiting(run)):
            return
        state = run.info().state
        if state not in ACTIVE_STATES:
            raise WorkspaceError(f"The run {identifier} is already {state}; there is nothing to stop.")
        if state == "queued" and self.queue.active_job(f"runs/{identifier}") is None:
            _end_waiting(run)  # its place in the queue was lost
            return
        run.request_stop(mode)

    def resume_run(
        self,
        identifier: str,
        *,
        num_epochs: int | None = None,
        device: str | None = None,
        changes: Mapping[tuple[str, ...], Any] | None = None,
    ) -> None:
        """Queue a run again; it goes on from its last checkpoint, exactly if its options stay as they are.

        ``num_epochs`` is the total, also for a run that is finished; ``device`` as in the options. ``changes`` are
        other options by their path, which the training may refuse when it begins. OptionsError where they don't hold,
        WorkspaceError for a file outside the data roots.
        """
        from mace_app.options import dump_options

        run = self.run(identifier)
        job = f"runs/{identifier}"
        state = run.info().state
        longer = num_epochs is not None
        if not self._may_resume(state, job, longer):
            hint = " Give a larger number of epochs to go on with it." if state == "finished" else ""
            raise WorkspaceError(
                f"The run {identifier} is {state}; only stopped, failed or interrupted runs can be resumed.{hint}"
            )
        wanted = dict(changes or {})
        if num_epochs is not None:
            self._check_epochs(run, state, num_epochs)
            wanted[EPOCHS] = num_epochs
        if device is not None:
            wanted[("device",)] = device
        options = None
        if wanted or run.info().imported is not None:  # an imported run may name any file
            options = _changed_options(run, wanted)
            self.refuse_foreign_files(options)
        self._await_end(run, job)

        def begin() -> None:
            if not self._may_resume(run.info().state, None, longer):
                raise WorkspaceError(f"The run {identifier} has been resumed meanwhile.")
            batches = {path[-1]: value for path, value in wanted.items() if path[-1] in BATCHES}
            if batches and run.last_place() is not None:
                _change_batches(run, batches)
                run.append_log(f"From here on other batches, as wanted: {batches}.")
            if wanted and options is not None:
                run.write_options(dump_options(options))
            run.requeue()
            run.update(archived=False)

        requested = run.requested_device() if options is None else _device_of(options)
        self.queue.enqueue("train", job, requested, then=begin)

    def _may_resume(self, state: State, job: str | None, longer: bool) -> bool:
        if state in RESUMABLE_STATES or (longer and state == "finished"):
            return True
        return state == "queued" and (job is None or self.queue.active_job(job) is None)

    def _await_end(self, run: RunFolder, job: str) -> None:
        deadline = time.monotonic() + RESUME_PATIENCE_SECONDS
        while self.queue.active_job(job) is not None or run.worker_alive():
            if time.monotonic() > deadline:
                raise WorkspaceError(f"The process of run {run.id} is still ending. Try again in a few seconds.")
            time.sleep(0.05)

    @staticmethod
    def _check_epochs(run: RunFolder, state: State, num_epochs: int) -> None:
        try:
            done = checkpoint_header(run.path / "checkpoints" / "last.safetensors")["epoch"]
        except FileNotFoundError:
            done = None
        except (OSError, NoCheckpoint) as error:
            raise WorkspaceError(
                f"The last checkpoint of the run {run.id} can't be gone on from ({error}). Clone the run instead."
            ) from error
        if done is None and state == "finished":
            raise WorkspaceError(
                f"The run {run.id} has no `last` checkpoint to go on from. Clone it to train anew with more epochs."
            )
        if done is not None and num_epochs <= done:
            raise WorkspaceError(
                f"The run {run.id} has done {done} epochs, and `num_epochs` is the total: give more than {done}."
            )

    def suggestion_for(self, identifier: str) -> Suggestion | None:
        """The change of the options that may help a failed run; see ``apply_suggestion``."""
        failure = Failure.from_json(self.run(identifier).info().failure)
        return None if failure is None else failure.suggestion

    def apply_suggestion(self, identifier: str) -> RunFolder:
        """Make the suggested change and queue the run again; where its checkpoint can't go on that way, a new run.

        Gives the run that was queued.
        """
        from mace_app.options import dump_options

        run = self.run(identifier)
        suggestion = self.suggestion_for(identifier)
        if suggestion is None:
            raise WorkspaceError(f"Nothing is suggested for the run {identifier}. See its log.")
        place = run.last_place()
        if place is None or (suggestion.path[-1] in BATCHES and place[1] == 0):
            self.resume_run(identifier, changes={suggestion.path: suggestion.value})
            return run
        info = run.info()
        options = _changed_options(run, {suggestion.path: suggestion.value})
        self.refuse_foreign_files(options)
        return self._create_run(dump_options(options), info.name, run.requested_device(), info.seed)

    def delete_run(self, identifier: str, *, keep_files: bool = False) -> Path | None:
        """Delete a run that is over, with its models and checkpoints; damaged ones too.

        With ``keep_files`` it only leaves the app: its folder is moved to ``removed/`` of the workspace, the new place
        is given, and from there it can be imported again.
        """
        run = self.run(identifier)
        try:
            active = run.info().state in ACTIVE_STATES or run.worker_alive()
        except RunFolderError:
            active = False
        if active or run.being_worked_on() or self.queue.active_job(f"runs/{identifier}") is not None:
            raise WorkspaceError(f"The run {identifier} is not over. Stop it first, then delete it.")
        self._refuse_if_analysed(f"runs/{identifier}", f"The run {identifier}")
        if not keep_files:
            delete_folder(run.path)
            return None
        removed = self.root / "removed"
        try:
            removed.mkdir(exist_ok=True)
            return move_into_place(
                run.path, removed, lambda attempt: identifier if attempt == 1 else f"{identifier}-{attempt}"
            )
        except OSError as error:
            raise WorkspaceError(f"{run.path} could not be moved to {removed}: {error}.") from error

    # The queue

    def move_run(self, identifier: str, where: Move) -> None:
        """Change the place of a waiting run: ``up``, ``down``, ``first`` or ``last``."""
        self.run(identifier)
        if not self.queue.move(f"runs/{identifier}", where):
            raise self._not_waiting(identifier)

    def hold_run(self, identifier: str, held: bool = True) -> None:
        """Let a waiting run wait, though a device is free, until it is released (``held=False``)."""
        self.run(identifier)
        if not self.queue.hold(f"runs/{identifier}", held):
            raise self._not_waiting(identifier)

    def set_run_device(self, identifier: str, device: str) -> None:
        """Where a waiting run shall run: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; OptionsError for anything else."""
        from mace_app.options import dump_options

        run = self.run(identifier)
        if device == ALL_CUDA == run.requested_device():
            return  # it waits for them already
        options = _changed_options(run, {("device",): device})
        text = dump_options(options)

        def write() -> None:
            run.write_options(text)
            run.update(device=device)

        if not self.queue.request_device(f"runs/{identifier}", _device_of(options), then=write):
            raise self._not_waiting(identifier)

    def pause_queue(self, paused: bool = True) -> None:
        """While the queue is paused no waiting run starts; what runs goes on."""
        self.queue.set_paused(paused)

    def _not_waiting(self, identifier: str) -> WorkspaceError:
        state = self.run(identifier).info().state
        return WorkspaceError(f"The run {identifier} is {state}; this can be changed only while a run waits.")


def _waits(run: RunFolder) -> bool:
    info = run.info()
    return info.state == "queued" and info.process is None


def _end_waiting(run: RunFolder) -> None:
    run.set_state("stopped", "Stopped before it began.")


def _change_batches(run: RunFolder, values: dict[str, Any]) -> None:
    try:
        change_batches(run.path / "checkpoints" / "last.safetensors", values)
    except (OSError, NoCheckpoint) as error:
        raise WorkspaceError(
            f"The last checkpoint of the run {run.id} can't be gone on from with other batches: {error}. Clone the run "
            "instead."
        ) from error


def _changed_options(run: RunFolder, changes: Mapping[tuple[str, ...], Any]) -> "RunOptions":
    """The run's options with other values, checked; OptionsError where they do not hold."""
    from mace_app.options import parse_options, to_mapping

    mapping = to_mapping(run.options())
    for path, value in changes.items():
        entry: Any = mapping
        for part in path[:-1]:
            entry = entry[int(part)] if isinstance(entry, list) else entry[part]
        entry[path[-1]] = value
    return parse_options(mapping)


def _device_of(options: "RunOptions") -> str:
    """What a run with these options waits for, as ``RunFolder.requested_device`` says it of a folder."""
    several = options.architecture.training.distributed and options.device != "cpu"
    return ALL_CUDA if several else options.device
