"""What is written down when a worker is gone: nothing if it said how it ended, else a sentence."""

import signal
from contextlib import suppress
from dataclasses import dataclass

from mace_app.jobs.dataset_folder import DatasetFolder
from mace_app.jobs.errors import JobsError
from mace_app.jobs.failures import Failure, Suggestion
from mace_app.jobs.job_state import JobFolder
from mace_app.jobs.processes import ProcessIdentity
from mace_app.jobs.run_folder import RunFolder

# A worker that could not write down how it ended, because the disk was full, says so with this.
DISK_FULL_STATUS = 74
HUNGRY_SHARE = 0.5  # of the machine's memory; a killed worker that used more was probably killed for it


@dataclass(frozen=True)
class Ending:
    """``returncode`` as subprocess gives it (−9: SIGKILL), None of another's child; ``failure`` if it never began."""

    returncode: int | None
    failure: str | None = None

    @property
    def cause(self) -> str:
        if self.returncode is not None and self.returncode < 0:
            try:
                name = signal.Signals(-self.returncode).name
            except ValueError:
                name = f"signal {-self.returncode}"
            return f"killed by {name}, perhaps for want of memory" if name == "SIGKILL" else f"killed by {name}"
        return "killed, out of memory or reboot"

    @property
    def is_error_exit(self) -> bool:
        return self.returncode is not None and self.returncode > 0


def conclude_training(run: RunFolder, process: ProcessIdentity | None, ending: Ending) -> bool:
    """Give a run whose process is gone a final state, unless it has one; True if it was needed."""
    if ending.failure is not None:
        return run.conclude("failed", ending.failure, process, Failure("other"))
    epoch = run.last_epoch()
    hope = "Resume begins again." if epoch is None else f"Resume continues from epoch {epoch}."
    asked = run.stop_requested()
    if asked == "now":
        reason = "Stopped at once, as asked; what came after the last checkpoint is lost."
        return run.conclude("stopped", reason, process)
    if ending.returncode == DISK_FULL_STATUS:
        reason = f"The disk is full; the last checkpoint is as it was. Free space. {hope}"
        return run.conclude("interrupted", reason, process, Failure("disk_full"))
    if ending.is_error_exit:
        last = next((line.strip() for line in reversed(run.output_tail()) if line.strip()), "it printed nothing")
        reason = f"The training process ended with an error: {last} (more in {run.output_file.name})."
        return run.conclude("failed", reason, process, Failure("other"))
    if asked == "best":
        reason = f"The training process was asked to stop and {_was(ending)} before it had exported. {hope}"
        return run.conclude("stopped", reason, process, Failure("killed"))
    if process is not None and process.of_another_boot:
        return run.conclude(
            "interrupted", f"The machine was restarted during the training. {hope}", process, Failure("restarted")
        )
    reason = f"The training process ended without a word ({ending.cause}). {hope}"
    hungry = _memory_used(run) if ending.returncode in (None, -signal.SIGKILL) else None
    suggestion = None
    if hungry is not None:
        suggestion = _half_a_batch(run)
        reason += f" It used {hungry}."
        if suggestion is not None:
            reason += f" If that was too much: {suggestion.text}."
    return run.conclude("interrupted", reason, process, Failure("killed", suggestion))


def _memory_used(run: RunFolder) -> str | None:
    """What a worker said last, where that is much of what the machine has."""
    import psutil

    with suppress(JobsError):
        progress = run.progress()
        total = psutil.virtual_memory().total / 1e6
        on_the_machine = run.info().device in (None, "cpu")
        if progress is not None and on_the_machine and (progress.memory_mb or 0.0) > HUNGRY_SHARE * total:
            return f"{progress.memory_mb:.0f} MB of the machine's {total:.0f}"
    return None


def _half_a_batch(run: RunFolder) -> Suggestion | None:
    from mace_app.options import OptionsError

    try:
        size = run.options().architecture.training.batch_size
    except (JobsError, OptionsError, OSError):
        return None
    if size == 1:
        return None
    path = ("architecture", "training", "batch_size")
    return Suggestion(path, size // 2, size, f"Set `batch_size` to {size // 2} (now {size})")


def _was(ending: Ending) -> str:
    return ending.cause if ending.returncode is not None and ending.returncode < 0 else "ended"


def conclude_inspection(dataset: DatasetFolder, ending: Ending) -> None:
    """Say why an inspection has no result, unless the process did."""
    if dataset.inspection_state() not in ("queued", "running"):
        return
    if dataset.inspection_cancelled():
        dataset.end_cancelled_inspection()
    else:
        cause = f"ended with status {ending.returncode}" if ending.is_error_exit else ending.cause
        dataset.write_inspection_error(
            ending.failure or f"The inspecting process ended without a word ({cause}). See output.txt; inspect again."
        )


def conclude_job(folder: JobFolder, ending: Ending) -> None:
    """Say why a job has no end, unless the process did."""
    if not folder.at_work():
        return
    if folder.cancelled():
        folder.set_state("cancelled")
        return
    cause = f"ended with status {ending.returncode}" if ending.is_error_exit else ending.cause
    folder.set_state(
        "failed", ending.failure or f"The process at work ended without a word ({cause}). See output.txt; try again."
    )
