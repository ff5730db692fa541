"""What is written down when a worker is gone: nothing if it said how it ended, else a sentence."""

import signal
from dataclasses import dataclass

from mace_app.jobs.dataset_folder import DatasetFolder
from mace_app.jobs.failures import Failure
from mace_app.jobs.processes import ProcessIdentity
from mace_app.jobs.run_folder import RunFolder

# A worker that could not write down how it ended, because the disk was full, says so with this.
DISK_FULL_STATUS = 74


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
    return run.conclude("interrupted", reason, process, Failure("killed"))


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
